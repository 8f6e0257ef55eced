"""Links of Shadowsocks (SIP002), also in the older form that is all in base64."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error

from testbed.experiment.brought._link import Link, is_link, parse_link
from testbed.experiment.brought._singbox import from_outbound
from testbed.experiment.brought.brought import Brought, Format
from testbed.experiment.explanations import names_in

_SCHEME = "ss://"
_METHODS = (
    *("2022-blake3-aes-128-gcm", "2022-blake3-aes-256-gcm", "2022-blake3-chacha20-poly1305"),
    *("aes-128-gcm", "aes-192-gcm", "aes-256-gcm", "chacha20-ietf-poly1305"),
    *("xchacha20-ietf-poly1305", "none"),
)
"""What sing-box has, but for the ciphers without authentication, which it calls legacy."""


def _read(text: str) -> Brought:
    link = parse_link(_in_new_form(text), user="method:password")
    method, colon, password = (link.user if ":" in link.user else _decoded(link)).partition(":")
    if not colon or not password:
        raise link.error("password", "missing; before the @ stands method:password, or its base64")
    if method not in _METHODS:
        raise link.error("method", f"{method!r} is none of {names_in(_METHODS)}")
    outbound: dict[str, object] = {"type": "shadowsocks", "method": method, "password": password}
    plugin, _, options = link.query.get("plugin", "").partition(";")
    if plugin:
        outbound |= {"plugin": plugin, "plugin_opts": options}
    outbound["server"] = link.host
    found = from_outbound(outbound, "a Shadowsocks link")
    unknown = link.unknown(("plugin",))
    return Brought(found.what, found.name, found.title, found.replaced, (*found.lost, *unknown))


def _in_new_form(text: str) -> str:
    """Return a link of the older form, all in base64, with its host and port in the open."""
    inside, hash_sign, tag = text[len(_SCHEME) :].partition("#")
    if "@" in inside or (decoded := _from_base64(inside)) is None:
        return text
    user, _, place = decoded.rpartition("@")
    return f"{_SCHEME}{user.replace('@', '%40')}@{place}{hash_sign}{tag}"


def _decoded(link: Link) -> str:
    found = _from_base64(link.user)
    if found is None:
        raise link.error("method:password", "it is not base64")
    return found


def _from_base64(text: str) -> str | None:
    text = text.rstrip("=/").translate(str.maketrans("-_", "+/"))
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except (Error, ValueError):
        return None


FORMAT = Format(lambda text: is_link(text, "ss"), _read)
