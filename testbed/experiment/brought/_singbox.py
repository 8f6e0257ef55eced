"""Turns an outbound of sing-box into the transport `singbox`, without addresses and keys.

Fields: https://sing-box.sagernet.org/configuration/outbound/ (version 1.14).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from testbed.experiment.brought.brought import Brought, check_known, title_of
from testbed.experiment.explanations import ScenarioError, names_in
from testbed.experiment.names import Name

Table = Mapping[str, object]

_BASE = ("type", "tag", "server", "server_port", "network")
_DIAL = (
    *("detour", "bind_interface", "inet4_bind_address", "inet6_bind_address", "routing_mark"),
    *("bind_address_no_port", "reuse_addr", "netns", "connect_timeout", "tcp_fast_open"),
    *("tcp_multi_path", "disable_tcp_keep_alive", "tcp_keep_alive", "tcp_keep_alive_interval"),
    *("udp_fragment", "domain_resolver", "domain_strategy", "network_strategy", "network_type"),
    *("fallback_network_type", "fallback_delay"),
)
"""How a client dials, which all outbounds may have."""
_STREAM = ("tls", "transport", "multiplex", "packet_encoding")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "shadowsocks": ("method", "password", "plugin", "plugin_opts", "udp_over_tcp", "multiplex"),
    "vless": ("uuid", "flow", *_STREAM),
    "vmess": ("uuid", "security", "alter_id", "global_padding", "authenticated_length", *_STREAM),
    "trojan": ("password", "tls", "transport", "multiplex"),
    "hysteria2": (
        *("password", "server_ports", "hop_interval", "hop_interval_max", "up_mbps", "down_mbps"),
        *("obfs", "tls", "brutal_debug"),
    ),
    "tuic": (
        *("uuid", "password", "congestion_control", "udp_relay_mode", "udp_over_stream"),
        *("zero_rtt_handshake", "heartbeat", "tls"),
    ),
    "anytls": (
        *("password", "idle_session_check_interval", "idle_session_timeout"),
        *("min_idle_session", "tls"),
    ),
}
"""The fields of each protocol, besides those that all have."""
_KEYS = ("uuid", "password")
_TLS_KEPT = (
    *("enabled", "disable_sni", "alpn", "min_version", "max_version", "cipher_suites"),
    *("fragment", "fragment_fallback_delay", "record_fragment"),
)
_TLS_REPLACED = (
    *("server_name", "insecure", "certificate", "certificate_path"),
    "certificate_public_key_sha256",
)
_TLS_LOST = {
    "utls": "the lab's sing-box has no uTLS, so the ClientHello is Go's",
    "ech": "the lab's server has no ECH",
    "reality": "the lab's sing-box has no REALITY; VLESS links with it run in Xray",
}
_LOST = {
    "plugin": "a plugin carries TCP only (SIP003), so calls go past it in plain Shadowsocks",
    "server_ports": "the lab's server listens on one port, so the client does not hop",
    "hop_interval": "the client does not hop",
    "hop_interval_max": "the client does not hop",
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "shadowsocks": ("method", "password"),
    "vless": ("uuid",),
    "vmess": ("uuid",),
    "trojan": ("password",),
    "hysteria2": ("password",),
    "tuic": ("uuid",),
    "anytls": ("password",),
}


def from_outbound(outbound: Table, what: str) -> Brought:
    """Return what an outbound is; `what` names it in messages.

    Raises:
        ScenarioError: A field is missing, unknown or of the wrong kind.
    """
    kind = str(outbound.get("type", ""))
    if kind not in _FIELDS:
        raise ScenarioError(f"{what}: type: {kind!r} is none of {names_in(_FIELDS)}")
    check_known(what, outbound, (*_BASE, *_FIELDS[kind], *_DIAL))
    for key in ("server", *_NEEDED[kind]):
        if not outbound.get(key):
            raise ScenarioError(f"{what}: {key}: missing")
    left_out = {*_BASE[1:], *_KEYS, *_DIAL, *_LOST, "plugin_opts", *_PARTS}
    client = {key: value for key, value in outbound.items() if key not in left_out}
    replaced = [f"the server {outbound['server']}", *(key for key in _KEYS if key in outbound)]
    lost = _lost(outbound)
    for key, part in _PARTS.items():
        if (table := _table(outbound, key, what)) and table.get("enabled", key != "tls"):
            client[key] = part(table, f"{what}: {key}", replaced, lost)
    name = Name("singbox", {"client": client})
    return Brought(what, name, _title(kind, client), tuple(replaced), tuple(lost))


def _tls(table: Table, where: str, replaced: list[str], lost: list[str]) -> Table:
    check_known(where, table, (*_TLS_KEPT, *_TLS_REPLACED, *_TLS_LOST))
    replaced += [f"tls.{key}" for key in _TLS_REPLACED if key in table]
    lost += [f"tls.{key}: {_TLS_LOST[key]}" for key in _TLS_LOST if _is_on(table.get(key))]
    return {key: value for key, value in table.items() if key in _TLS_KEPT}


def _obfuscation(table: Table, where: str, replaced: list[str], _lost: list[str]) -> Table:
    check_known(where, table, ("type", "password"))
    replaced.append("obfs.password")
    return {"type": table.get("type", "")}


def _carrier(table: Table, _where: str, replaced: list[str], _lost: list[str]) -> Table:
    kept, hosts = without_hosts(table)
    replaced += [f"transport.{key}" for key in hosts]
    return kept


def _multiplex(table: Table, _where: str, _replaced: list[str], _lost: list[str]) -> Table:
    return table


_PARTS: Mapping[str, Callable[[Table, str, list[str], list[str]], Table]] = {
    "tls": _tls,
    "obfs": _obfuscation,
    "transport": _carrier,
    "multiplex": _multiplex,
}
"""What reads each table in an outbound: it returns what is kept, and adds to the two lists."""


def without_hosts(carrier: Table) -> tuple[Table, list[str]]:
    """Return what carries a protocol without the names of hosts in it, and what was left out."""
    kept = {key: value for key, value in carrier.items() if key != "host"}
    headers = kept.get("headers")
    if isinstance(headers, Mapping):
        kept["headers"] = {k: v for k, v in headers.items() if str(k).lower() != "host"}
        if not kept["headers"]:
            del kept["headers"]
    return kept, [key for key in carrier if carrier[key] != kept.get(key)]


def _lost(outbound: Table) -> list[str]:
    found = [f"{key}: {_LOST[key]}" for key in _LOST if outbound.get(key)]
    found += [f"{key}: how the client dials is the lab's" for key in _DIAL if key in outbound]
    if outbound.get("network") == "tcp":
        found.append("network: it relays no UDP, so calls would not use it; here it relays UDP")
    return found


def _is_on(value: object) -> bool:
    return bool(value.get("enabled")) if isinstance(value, Mapping) else bool(value)


def _table(outbound: Table, key: str, what: str) -> Table:
    found = outbound.get(key, {})
    if not isinstance(found, Mapping):
        raise ScenarioError(f"{what}: {key}: expected an object, not {found!r}")
    return found


def _title(kind: str, client: Table) -> str:
    """Return a short name of what matters on the wire."""
    words = [kind]
    if method := client.get("method"):
        words.append(str(method))
    for key in ("transport", "obfs"):
        if isinstance(table := client.get(key), Mapping):
            words.append(str(table.get("type", "")))
    words += ["tls"] if "tls" in client and kind not in ("hysteria2", "tuic", "anytls") else []
    return title_of(words)
