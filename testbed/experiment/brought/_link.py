"""Links, as people share them: `SCHEME://USER@HOST:PORT/?KEY=VALUE&…#NAME`.

Sources: https://github.com/XTLS/Xray-core/issues/91 (VLESS), https://trojan-gfw.github.io/trojan/,
https://v2.hysteria.network/docs/developers/URI-Scheme/, https://shadowsocks.org/doc/sip002.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from testbed.experiment.explanations import ScenarioError, names_in

_LINK = re.compile(
    r"(?P<scheme>[a-z0-9+]+)://"
    r"(?:(?P<user>[^@/?#]*)@)?"
    r"(?P<host>\[[^]@/?#]*\]|[^:@/?#]*)(?::(?P<port>[^/?#]*))?"
    r"/?(?:\?(?P<query>[^#]*))?(?:#(?P<tag>.*))?",
    re.DOTALL,
)
_LARGEST_PORT = 65535


@dataclass(frozen=True)
class Link:
    """A link, taken apart and unescaped."""

    scheme: str
    user: str
    host: str
    port: str
    query: Mapping[str, str]

    def error(self, field: str, why: str) -> ScenarioError:
        """Return the error that a field is wrong."""
        return ScenarioError(f"{self.scheme} link: {field}: {why}")

    def choice(self, key: str, known: Iterable[str], default: str) -> str:
        """Return a parameter that must have one of some values.

        Raises:
            ScenarioError: It has another.
        """
        value, known = self.query.get(key) or default, list(known)
        if value not in known:
            raise self.error(key, f"{value!r} is none of {names_in(known)}")
        return value

    def flag(self, key: str) -> bool:
        """Return a parameter that is 1 or 0, and 0 if it is missing."""
        return self.choice(key, ("0", "1", "false", "true"), "0") in ("1", "true")

    def words(self, key: str) -> list[str]:
        """Return the words of a parameter that has commas between them."""
        return [word for word in self.query.get(key, "").split(",") if word]

    def unknown(self, known: Iterable[str]) -> list[str]:
        """Return a sentence on each parameter that is not known."""
        return [f"{key}: unknown, left out" for key in sorted(set(self.query) - set(known))]


def is_link(text: str, *schemes: str) -> bool:
    """Return whether a text begins as a link of one of these schemes does."""
    return text.partition("://")[0].lower() in schemes and "://" in text


def parse_link(text: str, *, user: str, several_ports: bool = False) -> Link:
    """Take a link apart; `user` says what stands before the @, for messages.

    Raises:
        ScenarioError: A part is missing or wrong.
    """
    scheme = text.partition("://")[0].lower()
    found = _LINK.fullmatch(scheme + text[len(scheme) :])
    if found is None:
        raise ScenarioError(
            f"{scheme} link: host: expected {scheme}://{user}@HOST:PORT, and at most one @"
        )
    query = dict(parse_qsl(found["query"] or "", keep_blank_values=True))
    link = Link(scheme, unquote(found["user"] or ""), found["host"], found["port"] or "", query)
    if not link.user:
        raise link.error(user, "missing before the @")
    if not link.host:
        raise link.error("host", "missing after the @")
    if not (several_ports and (not link.port or re.fullmatch(r"[0-9,-]+", link.port))):
        _check_port(link)
    return link


def _check_port(link: Link) -> None:
    if not link.port:
        raise link.error("port", "missing after the host")
    is_number = re.fullmatch(r"[0-9]{1,5}", link.port)
    if not is_number or not 0 < int(link.port) <= _LARGEST_PORT:
        raise link.error("port", f"{link.port!r} is no number from 1 to {_LARGEST_PORT}")
