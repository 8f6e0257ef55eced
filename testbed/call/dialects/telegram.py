"""Speak Telegram's dialect: WebRTC behind a header of 24 bytes, through a reflector.

The reflector itself and the header are in `testbed.call.reflector`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from testbed.call import reflector
from testbed.call.dialects.base import Framing, Signal, Stage, Step
from testbed.call.dialects.envelope import Envelope

HELLO_REPEAT_S = 0.5
"""The interval of Telegram's hellos to a reflector until one is answered (tgcalls)."""

SIGNALLING = (
    Signal(is_caller=False, size=49),
    Signal(is_caller=True, size=101),
    Signal(is_caller=False, size=69),
    Signal(is_caller=True, size=1364),
    Signal(is_caller=False, size=2009),
)
"""Telegram's signalling is an SCTP association (INIT, INIT ACK, COOKIE ECHO), then offer and answer
(ntgcalls 3.0.5 in this lab: the messages were captured at an access delay of 60 ms; its time to
connect grows by 11 ms per ms of delay from 20 to 150 ms, of which 5 are these messages, 2 the check
and 4 DTLS). The model leaves out that both ends open the association at once."""


class TelegramReflector(Envelope):
    """Telegram: a hello to a reflector by peer tag, then WebRTC behind 24 bytes (tgcalls, read)."""

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
        """Prepend the other end's tag, this end's and the length, and pad to 4 bytes."""
        return reflector.wrap(self.session.tag(own=False), self.session.tag(own=True), payload)

    def unwrap(self, datagram: bytes) -> bytes:
        """Return the payload of a datagram; empty if it is not for this end."""
        if not datagram.startswith(self.session.tag(own=True)):
            return b""
        return reflector.unwrap(datagram)


DIALECTS = {"telegram-reflector": (TelegramReflector, reflector.Reflector)}
