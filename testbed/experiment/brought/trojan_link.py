"""Links of Trojan."""

from __future__ import annotations

from testbed.experiment.brought._link import is_link, parse_link
from testbed.experiment.brought._singbox import from_outbound
from testbed.experiment.brought._stream import STREAM_KEYS, stream_options
from testbed.experiment.brought.brought import Brought, Format


def _read(text: str) -> Brought:
    link = parse_link(text, user="password")
    security = link.choice("security", ("tls", "none"), "tls")
    outbound: dict[str, object] = {"type": "trojan", "server": link.host, "password": link.user}
    found = from_outbound(outbound | stream_options(link, security), "a Trojan link")
    lost = (*found.lost, *link.unknown(STREAM_KEYS))
    return Brought(found.what, found.name, found.title, found.replaced, lost)


FORMAT = Format(lambda text: is_link(text, "trojan"), _read)
