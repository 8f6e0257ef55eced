"""Turns an outbound of Xray into a transport: VLESS and WireGuard run in Xray, others in sing-box.

Fields: https://xtls.github.io/en/config/outbound.html (version 26.3).
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed.experiment.brought import _singbox
from testbed.experiment.brought._xray import VlessStream, from_vless
from testbed.experiment.brought.brought import Brought, check_known
from testbed.experiment.explanations import ScenarioError, names_in
from testbed.experiment.names import Name

Table = Mapping[str, object]

_OUTBOUND = (
    *("protocol", "settings", "tag", "streamSettings", "mux", "proxySettings", "sendThrough"),
    "targetStrategy",
)
_STREAM = (
    *("network", "security", "tlsSettings", "realitySettings", "rawSettings", "tcpSettings"),
    *("kcpSettings", "wsSettings", "xhttpSettings", "splithttpSettings", "grpcSettings"),
    *("httpupgradeSettings", "sockopt", "finalmask"),
)
_SERVER = ("address", "port", "users", "level", "email", "password", "method", "uot")
_USER = (
    *("id", "flow", "encryption", "security", "level", "email", "alterId", "password", "method"),
    *("address", "port", "uot"),
)
_PROTOCOLS = ("vless", "vmess", "trojan", "shadowsocks", "wireguard")
_OF_SING_BOX = ("ws", "websocket", "httpupgrade")
_WIREGUARD = (
    *("secretKey", "address", "peers", "mtu", "reserved", "workers", "domainStrategy"),
    "noKernelTun",
)
_MASKS = ("noise", "salamander", "header-srtp")


def from_outbound(outbound: Table, what: str) -> Brought:
    """Return what an outbound is; `what` names it in messages.

    Raises:
        ScenarioError: A field is missing, unknown or of the wrong kind.
    """
    check_known(what, outbound, _OUTBOUND)
    protocol = str(outbound.get("protocol"))
    if protocol not in _PROTOCOLS:
        raise ScenarioError(f"{what}: protocol: {protocol!r} is none of {names_in(_PROTOCOLS)}")
    settings, stream = _table(outbound, "settings", what), _table(outbound, "streamSettings", what)
    check_known(f"{what}: streamSettings", stream, _STREAM)
    if protocol == "wireguard":
        return _wireguard(settings, stream, what)
    server = _first(settings, "vnext" if protocol in ("vless", "vmess") else "servers", what)
    check_known(f"{what}: settings", server, (*_SERVER, *_USER, "vnext", "servers"))
    user = _first(server, "users", what)
    check_known(f"{what}: users", user, (*_USER, *_SERVER))
    if not (address := server.get("address")):
        raise ScenarioError(f"{what}: settings.address: missing")
    network = str(stream.get("network", "raw"))
    if protocol == "vless" and network not in _OF_SING_BOX:
        return _vless(outbound, stream, user, what)
    found: dict[str, object] = {"type": protocol, "server": address, **_user(protocol, user, what)}
    return _singbox.from_outbound(found | _carriers(stream, network, what), what)


def _vless(outbound: Table, stream: Table, user: Table, what: str) -> Brought:
    _needed(user, "id", what)
    network, security = str(stream.get("network", "raw")), str(stream.get("security", "none"))
    own = f"{security}Settings"
    secured = _table(stream, own, what)
    known = {key: secured[key] for key in ("serverName", "publicKey", "shortId") if key in secured}
    carried = VlessStream(
        network,
        security,
        _table(stream, f"{network}Settings", what),
        str(secured.get("fingerprint", "")),
    )
    return from_vless(
        carried,
        what,
        "in vnext",
        [f"{own}.{key}" for key in known],
        has_vision=bool(user.get("flow")),
        has_mux=bool(_table(outbound, "mux", what).get("enabled")),
    )


def _wireguard(settings: Table, stream: Table, what: str) -> Brought:
    check_known(f"{what}: settings", settings, _WIREGUARD)
    _needed(settings, "secretKey", what)
    peer = _first(settings, "peers", what)
    for key in ("publicKey", "endpoint"):
        _needed(peer, key, f"{what}: peers")
    masks = _table(stream, "finalmask", what).get("udp") or []
    if not isinstance(masks, list):
        raise ScenarioError(f"{what}: finalmask.udp: expected a list of objects")
    kinds = [str(mask.get("type")) for mask in masks if isinstance(mask, Mapping)]
    for kind in kinds:
        if kind not in _MASKS:
            raise ScenarioError(f"{what}: finalmask.udp: {kind!r} is none of {names_in(_MASKS)}")
    lost = [f"finalmask: only {kinds[0]} is kept of several"] if len(kinds) > 1 else []
    lost += [f"{key}: the lab has its own" for key in ("mtu", "reserved") if key in settings]
    name = Name("xray_wireguard", {"finalmask": kinds[0] if kinds else "none"})
    replaced = (f"the server {peer['endpoint']}", "secretKey", "publicKey", "address")
    return Brought(what, name, replaced=replaced, lost=tuple(lost))


def _user(protocol: str, user: Table, what: str) -> dict[str, object]:
    """Return what a user is known by, by sing-box's names."""
    names = {
        "vless": {"uuid": "id", "flow": "flow"},
        "vmess": {"uuid": "id", "security": "security"},
        "trojan": {"password": "password"},
        "shadowsocks": {"method": "method", "password": "password"},
    }[protocol]
    for key in (names.get("uuid"), names.get("password"), names.get("method")):
        if key is not None:
            _needed(user, key, what)
    return {ours: user[theirs] for ours, theirs in names.items() if user.get(theirs)}


def _carriers(stream: Table, network: str, what: str) -> dict[str, object]:
    """Return sing-box's `transport` and `tls` for Xray's settings of a stream."""
    found: dict[str, object] = {}
    own = _table(stream, {"websocket": "wsSettings"}.get(network, f"{network}Settings"), what)
    match network:
        case "ws" | "websocket":
            carrier = {"type": "ws", "path": own.get("path", "/")}
            if host := own.get("host") or _table(own, "headers", what).get("Host"):
                carrier["headers"] = {"Host": host}
            found["transport"] = carrier
        case "httpupgrade":
            found["transport"] = {"type": network, "path": own.get("path", "/")}
        case "grpc":
            found["transport"] = {"type": network, "service_name": own.get("serviceName", "")}
        case "raw" | "tcp":
            pass
        case _:
            raise ScenarioError(f"{what}: network: {network!r} carries only VLESS in the lab")
    security = str(stream.get("security") or "none")
    if security not in ("tls", "none"):
        raise ScenarioError(f"{what}: security: {security!r} secures only VLESS in the lab")
    if security == "tls":
        tls = _table(stream, "tlsSettings", what)
        kept = {"alpn": tls["alpn"]} if "alpn" in tls else {}
        found["tls"] = {"enabled": True, "server_name": tls.get("serverName", ""), **kept}
    return found


def _needed(table: Table, key: str, what: str) -> None:
    if not table.get(key):
        raise ScenarioError(f"{what}: {key}: missing")


def _table(table: Table, key: str, what: str) -> Table:
    found = table.get(key) or {}
    if not isinstance(found, Mapping):
        raise ScenarioError(f"{what}: {key}: expected an object, not {found!r}")
    return found


def _first(table: Table, key: str, what: str) -> Table:
    """Return the first of a list of objects; without the list, the table itself has its fields."""
    if key not in table:
        return table
    found = table[key]
    if not isinstance(found, list) or not found or not isinstance(found[0], Mapping):
        raise ScenarioError(f"{what}: {key}: expected a list with an object")
    return found[0]
