"""Links of Hysteria 2."""

from __future__ import annotations

from testbed.experiment.brought._link import is_link, parse_link
from testbed.experiment.brought._singbox import from_outbound
from testbed.experiment.brought.brought import Brought, Format

_KNOWN = ("obfs", "obfs-password", "sni", "insecure", "pinSHA256", "mport", "alpn")


def _read(text: str) -> Brought:
    link = parse_link(text, user="password", several_ports=True)
    tls: dict[str, object] = {"enabled": True, "alpn": link.words("alpn") or ["h3"]}
    tls["server_name"] = link.query.get("sni") or link.host
    if link.flag("insecure") or link.query.get("pinSHA256"):
        tls["insecure"] = True
    outbound: dict[str, object] = {"type": "hysteria2", "server": link.host, "tls": tls}
    outbound["password"] = link.user
    if (obfuscation := link.choice("obfs", ("none", "salamander"), "none")) != "none":
        if not link.query.get("obfs-password"):
            raise link.error("obfs-password", f"missing, and obfs is {obfuscation}")
        outbound["obfs"] = {"type": obfuscation, "password": link.query["obfs-password"]}
    if link.query.get("mport") or {"-", ","} & set(link.port):
        outbound["server_ports"] = link.query.get("mport") or link.port
    found = from_outbound(outbound, "a Hysteria 2 link")
    lost = (*found.lost, *link.unknown(_KNOWN))
    return Brought(found.what, found.name, found.title, found.replaced, lost)


FORMAT = Format(lambda text: is_link(text, "hysteria2", "hy2"), _read)
