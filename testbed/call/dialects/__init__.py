"""How each kind of messenger speaks: exchanges, relays, media packets; no time, no socket.

A dialect gives one end of a call its exchanges in order (`steps`), its answers to the other end
(`answer`) and its media packets; a relay joins the two ends of a call. One file has one dialect.
"""

from collections.abc import Mapping

from testbed.call.dialects.base import (
    SIGNALLED,
    Dialect,
    Framing,
    PathProtocol,
    Relay,
    RelayProtocol,
    Session,
    Shortcuts,
    Stage,
    Step,
)
from testbed.call.dialects.telegram import TelegramReflector
from testbed.call.dialects.webrtc import SignalTurn, WebRtcRelay, WebRtcTurn
from testbed.call.dialects.whatsapp import WhatsApp, WhatsAppRelay
from testbed.call.reflector import Reflector

__all__ = [
    "DIALECTS",
    "SIGNALLED",
    "Dialect",
    "Framing",
    "PathProtocol",
    "Relay",
    "RelayProtocol",
    "Session",
    "Shortcuts",
    "Stage",
    "Step",
]

DIALECTS: Mapping[str, tuple[type[Dialect], type[Relay]]] = {
    "signal-turn": (SignalTurn, WebRtcRelay),
    "telegram-reflector": (TelegramReflector, Reflector),
    "webrtc-turn": (WebRtcTurn, WebRtcRelay),
    "whatsapp": (WhatsApp, WhatsAppRelay),
}
"""By name: one end of a call, and the relay."""
