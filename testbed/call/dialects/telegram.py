"""Telegram's dialect: a reflector by peer tags, WebRTC behind 24 bytes; no relay (`reflector`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from testbed.call import reflector
from testbed.call.dialects.base import Framing, Signal, Stage, Step
from testbed.call.dialects.envelope import Envelope

HELLO_REPEAT_S = 0.5
"""Telegram's hello to a reflector, until it is answered (tgcalls)."""

SIGNALLING = (
    Signal(is_caller=False, size=49),
    Signal(is_caller=True, size=101),
    Signal(is_caller=False, size=69),
    Signal(is_caller=True, size=1364),
    Signal(is_caller=False, size=2009),
)
"""Telegram's signalling is an SCTP association (INIT, INIT ACK, COOKIE ECHO), then offer and answer
(ntgcalls 3.0.5 in this lab: its messages as captured at 60 ms of access delay; its time to connect
grows by 11 ms for each ms of delay from 20 to 150 ms, of which 5 are these messages, 2 the check
and 4 DTLS). That each end opens the association at once is left out."""


class TelegramReflector(Envelope):
    """Telegram: hello to a reflector by peer tag; WebRTC behind 24 bytes (tgcalls, read)."""

    signalling: ClassVar[Sequence[Signal]] = SIGNALLING
    framing: ClassVar[Framing] = Framing(
        reflector.PROLOGUE, reflector.frame_packet, reflector.take_packet
    )

    def relay_steps(self) -> Sequence[Step]:
        """Return the exchange with the reflector."""
        own = self.session.tag(own=True)
        hello, answer, repeat_s = own + bytes(4), own + bytes(4), math.inf
        if self.session.protocol == "udp":
            hello = own + reflector.HELLO + self.nonce
            answer = own + reflector.WELCOME + self.nonce
            repeat_s = HELLO_REPEAT_S
        hello_step = Step(
            "hello to the reflector",
            hello,
            lambda datagram: datagram.startswith(answer),
            repeat_s,
            backoff=1.0,
            stage=Stage.GATHERING,
        )
        return [hello_step]

    def wrap(self, payload: bytes) -> bytes:
        """Put the other end's tag, this one's, and the length in front, and pad to 4 bytes."""
        return reflector.wrap(self.session.tag(own=False), self.session.tag(own=True), payload)

    def unwrap(self, datagram: bytes) -> bytes:
        """Take the payload out of a datagram; empty: it is not for this end."""
        if not datagram.startswith(self.session.tag(own=True)):
            return b""
        return reflector.unwrap(datagram)
