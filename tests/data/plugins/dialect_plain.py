"""A dialect whose exchanges are those of another."""

from __future__ import annotations

from testbed.call.dialects.whatsapp import WhatsApp, WhatsAppRelay


class Plain(WhatsApp):
    """A dialect under another name."""


DIALECTS = {"plain": (Plain, WhatsAppRelay)}
