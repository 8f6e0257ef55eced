"""Links of TUIC 5."""

from __future__ import annotations

from testbed.experiment.brought._link import is_link, parse_link
from testbed.experiment.brought._singbox import from_outbound
from testbed.experiment.brought.brought import Brought, Format

_CONGESTION = ("cubic", "new_reno", "bbr")
_KNOWN = (
    *("congestion_control", "udp_relay_mode", "alpn", "sni", "allow_insecure", "insecure"),
    "disable_sni",
)


def _read(text: str) -> Brought:
    link = parse_link(text, user="uuid:password")
    uuid, colon, password = link.user.partition(":")
    if not colon:
        raise link.error("password", "missing; before the @ stands uuid:password")
    tls: dict[str, object] = {"enabled": True, "alpn": link.words("alpn") or ["h3"]}
    tls["server_name"] = link.query.get("sni") or link.host
    if link.flag("disable_sni"):
        tls["disable_sni"] = True
    if link.flag("allow_insecure") or link.flag("insecure"):
        tls["insecure"] = True
    outbound: dict[str, object] = {"type": "tuic", "server": link.host, "tls": tls}
    outbound |= {
        "uuid": uuid,
        "password": password,
        "congestion_control": link.choice("congestion_control", _CONGESTION, "cubic"),
        "udp_relay_mode": link.choice("udp_relay_mode", ("native", "quic"), "native"),
    }
    found = from_outbound(outbound, "a TUIC link")
    lost = (*found.lost, *link.unknown(_KNOWN))
    return Brought(found.what, found.name, found.title, found.replaced, lost)


FORMAT = Format(lambda text: is_link(text, "tuic"), _read)
