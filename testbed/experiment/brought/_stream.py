"""What carries VLESS and Trojan in links: the same parameters in both."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.experiment.brought._link import Link

STREAM_KEYS = (
    *("type", "security", "path", "host", "serviceName", "alpn", "sni", "fp", "allowInsecure"),
    *("headerType", "peer"),
)
_NETWORKS = ("tcp", "raw", "ws", "grpc", "httpupgrade", "http", "h2")


def stream_options(link: Link, security: str) -> dict[str, object]:
    """Return sing-box's `transport` and `tls` for a link.

    Raises:
        ScenarioError: A parameter has an impossible value.
    """
    found: dict[str, object] = {}
    path, host = link.query.get("path", ""), link.query.get("host", "")
    if link.choice("headerType", ("none", "http"), "none") == "http":
        raise link.error("headerType", "sing-box has no HTTP header before a stream")
    carriers: Mapping[str, dict[str, object]] = {
        "ws": {"type": "ws", "path": path or "/", **_headers(host)},
        "httpupgrade": {"type": "httpupgrade", "path": path or "/", "host": host},
        "grpc": {"type": "grpc", "service_name": link.query.get("serviceName", "")},
        "http": {"type": "http", "path": path or "/", "host": host.split(",") if host else []},
    }
    network = link.choice("type", _NETWORKS, "tcp")
    if carrier := carriers.get("http" if network == "h2" else network):
        found["transport"] = carrier
    if security == "tls":
        found["tls"] = _tls(link)
    return found


def _headers(host: str) -> dict[str, object]:
    return {"headers": {"Host": host}} if host else {}


def _tls(link: Link) -> dict[str, object]:
    tls: dict[str, object] = {"enabled": True}
    if alpn := link.words("alpn"):
        tls["alpn"] = alpn
    if name := link.query.get("sni") or link.query.get("peer"):
        tls["server_name"] = name
    if link.flag("allowInsecure"):
        tls["insecure"] = True
    if link.query.get("fp"):
        tls["utls"] = {"enabled": True}
    return tls
