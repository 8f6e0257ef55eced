"""The dialects: how each kind of messenger talks to its relay and to the other end of a call.

A dialect defines one end of a call: its exchanges in order (`steps`), its answers to the other end
(`answer`) and its media packets. A relay connects the two ends of a call. Each dialect is one file.
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
"""By name: the dialect and its relay."""
