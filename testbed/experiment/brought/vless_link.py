"""Links of VLESS: REALITY, XHTTP and mKCP run in Xray, the rest in sing-box."""

from __future__ import annotations

import json
from collections.abc import Mapping

from testbed.experiment.brought._link import Link, is_link, parse_link
from testbed.experiment.brought._singbox import from_outbound
from testbed.experiment.brought._stream import STREAM_KEYS, stream_options
from testbed.experiment.brought._xray import VlessStream, from_vless
from testbed.experiment.brought.brought import Brought, Format

_WHAT = "a VLESS link"
_FLOWS = ("", "xtls-rprx-vision", "xtls-rprx-vision-udp443")
_KNOWN = (
    *(*STREAM_KEYS, "encryption", "flow", "pbk", "sid", "spx", "pqv", "mode", "extra"),
    "packetEncoding",
)
_NETWORKS = ("tcp", "raw", "ws", "grpc", "httpupgrade", "http", "h2", "xhttp", "splithttp", "kcp")
_OF_XRAY = ("xhttp", "splithttp", "kcp")


def _read(text: str) -> Brought:
    link = parse_link(text, user="uuid")
    security = link.choice("security", ("none", "tls", "reality"), "none")
    flow = link.choice("flow", _FLOWS, "")
    network = link.choice("type", _NETWORKS, "tcp")
    if (encryption := link.query.get("encryption") or "none") != "none":
        raise link.error("encryption", f"{encryption.split('.')[0]!r}: only `none` can be run here")
    if security == "reality" or network in _OF_XRAY:
        found = _in_xray(link, network, security, has_vision=bool(flow))
    else:
        outbound: dict[str, object] = {"type": "vless", "server": link.host, "uuid": link.user}
        outbound |= {"flow": "xtls-rprx-vision"} if flow else {}
        found = from_outbound(outbound | stream_options(link, security), _WHAT)
    lost = (*found.lost, *link.unknown(_KNOWN))
    return Brought(found.what, found.name, found.title, found.replaced, lost)


def _in_xray(link: Link, network: str, security: str, *, has_vision: bool) -> Brought:
    if security == "reality":
        for key in ("pbk", "sni"):
            if not link.query.get(key):
                raise link.error(key, "missing, and security is reality")
    carried = {key: link.query[key] for key in ("path", "host", "mode") if link.query.get(key)}
    settings: Mapping[str, object] = {**carried, **_extra(link)}
    if network == "grpc":
        settings = {"serviceName": link.query.get("serviceName", "")}
    stream = VlessStream(network, security, settings, link.query.get("fp", ""))
    replaced = [key for key in ("sni", "pbk", "sid", "spx") if link.query.get(key)]
    found = from_vless(stream, _WHAT, link.host, replaced, has_vision=has_vision)
    if (header := link.query.get("headerType", "none")) not in ("none", ""):
        lost = (*found.lost, f"headerType: {header} is not sent")
        return Brought(found.what, found.name, found.title, found.replaced, lost)
    return found


def _extra(link: Link) -> dict[str, object]:
    if not (text := link.query.get("extra")):
        return {}
    try:
        found: object = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise link.error("extra", "it is no JSON object")
    return {"extra": found}


FORMAT = Format(lambda text: is_link(text, "vless"), _read)
