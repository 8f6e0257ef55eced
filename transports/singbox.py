"""sing-box on both ends, from a client's outbound of somebody's own; the server is derived from it.

An outbound is what a client's configuration has, without addresses, keys and names, which the lab
draws (https://sing-box.sagernet.org/configuration/outbound/). A link or a configuration file
becomes one: `testbed explain LINK`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.transport import singbox
from testbed.transport.interface import Host

_USERS: Mapping[str, tuple[str, ...]] = {
    "vless": ("uuid",),
    "vmess": ("uuid",),
    "trojan": ("password",),
    "hysteria2": ("password",),
    "tuic": ("uuid", "password"),
    "anytls": ("password",),
}
"""What a user is known by, for each protocol that has users."""
_SHADOWSOCKS = "shadowsocks"
_KEY_BYTES = {"2022-blake3-aes-256-gcm": 32, "2022-blake3-chacha20-poly1305": 32}
"""The length of a key, where it is not 16 bytes (SIP022)."""
_BOTH_SIDES = ("method", "congestion_control")
"""What a server must have as its clients have it."""
_ONLY_CLIENTS = ("headers", "max_early_data", "early_data_header_name", "idle_timeout")
"""What a client alone says of what carries a protocol."""


@dataclass(frozen=True)
class Transport(singbox.SingBoxTransport):
    """sing-box, with a client's outbound from a link or file. Unordered."""

    client: Mapping[str, object]
    """The outbound: its `type` and further options, without addresses, keys and certificates."""

    def __post_init__(self) -> None:
        if self._type not in (_SHADOWSOCKS, *_USERS):
            known = ", ".join(sorted((_SHADOWSOCKS, *_USERS)))
            raise ValueError(f"client: type: {self._type!r} is none of {known}")

    @property
    def _type(self) -> object:
        return self.client.get("type")

    def secrets(self, host: Host) -> dict[str, str]:
        """Draw what users are known by."""
        key_bytes = _KEY_BYTES.get(str(self.client.get("method")), 16)
        drawn = {"uuid": singbox.uuid(host), "password": singbox.password(host, key_bytes)}
        return {name: drawn[name] for name in _USERS.get(str(self._type), ("password",))}

    def inbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return the server's side."""
        found: dict[str, object] = {"type": self._type}
        found |= {key: self.client[key] for key in _BOTH_SIDES if key in self.client}
        if self._type == _SHADOWSOCKS:
            found |= secrets
        else:
            found["users"] = [{**secrets, **self._part(self.client, "flow")}]
        tls = self._table("tls")
        if tls.get("enabled"):
            found["tls"] = {**singbox.server_tls(host), **self._part(tls, "alpn")}
        if carrier := self._table("transport"):
            found["transport"] = {k: v for k, v in carrier.items() if k not in _ONLY_CLIENTS}
        if shared := self._table("multiplex"):
            found["multiplex"] = {"enabled": True, **self._part(shared, "padding")}
        return {**found, **self._obfuscation(secrets)}

    def outbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return a client's side."""
        own = {**self.client, **secrets, **self._obfuscation(secrets)}
        tls = self._table("tls")
        return {**own, "tls": {**singbox.client_tls(host), **tls}} if tls.get("enabled") else own

    def _obfuscation(self, secrets: Mapping[str, str]) -> singbox.Options:
        obfuscation = self._table("obfs")
        return {"obfs": {**obfuscation, "password": secrets["password"]}} if obfuscation else {}

    def _table(self, key: str) -> Mapping[str, object]:
        found = self.client.get(key)
        return found if isinstance(found, Mapping) else {}

    @staticmethod
    def _part(table: Mapping[str, object], key: str) -> dict[str, object]:
        return {key: table[key]} if key in table else {}

    @property
    def udp_only(self) -> bool:
        """Whether clients send UDP datagrams only."""
        if self._type == _SHADOWSOCKS:
            return not (self.client.get("udp_over_tcp") or self._table("multiplex"))
        return self._type in ("hysteria2", "tuic")
