"""Bridge lines of Tor: `[Bridge] TRANSPORT ADDRESS:PORT [FINGERPRINT] [KEY=VALUE …]`.

The lab runs a pluggable transport around the call itself, and Tor only as the transport `tor`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from testbed.experiment.brought.brought import Brought, Format
from testbed.experiment.explanations import ScenarioError, names_in
from testbed.experiment.names import Name

_LINE = re.compile(
    r"(?:Bridge\s+)?(?P<transport>[A-Za-z_][A-Za-z0-9_]*)\s+(?P<address>\S+)(\s+\S+)*",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?:[0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}")
_SHIPPED = {
    "obfs4": "obfs4",
    "meek_lite": "meek_lite",
    "meek": "meek_lite",
    "snowflake": "snowflake",
}
_NEEDED = {"obfs4": ("cert", "iat-mode"), "meek_lite": ("url",), "meek": ("url",)}
_BINARIES = ("webtunnel", "conjure", "obfs3", "scramblesuit", "dnstt")
_IAT_MODES = ("0", "1", "2")


def _reads(text: str) -> bool:
    found = _LINE.fullmatch(text)
    if found is None:
        return False
    return found["transport"].lower() in (*_SHIPPED, *_BINARIES) and ":" in found["address"]


def _read(text: str) -> Brought:
    words = text.split()
    transport, address, *rest = words[1:] if words[0].lower() == "bridge" else words
    transport = transport.lower()
    if not _ADDRESS.fullmatch(address):
        raise ScenarioError(f"bridge line: address: {address!r} is no ADDRESS:PORT")
    if transport not in _SHIPPED:
        raise ScenarioError(
            f"bridge line: transport: the lab has no program for {transport}; give a binary of "
            f"yours, as by pt:/PATH {{name = {transport}}}"
        )
    arguments = _arguments(transport, rest)
    mode = arguments.pop("iat-mode", "0")
    if mode not in _IAT_MODES:
        raise ScenarioError(f"bridge line: iat-mode: {mode!r} is none of {names_in(_IAT_MODES)}")
    name = Name(_SHIPPED[transport], {} if mode == "0" else {"iat_mode": int(mode)})
    replaced = (f"the bridge {address}", "fingerprint", *arguments)
    return Brought(f"a bridge line of {transport}", name, replaced=replaced)


def _arguments(transport: str, words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words if not _FINGERPRINT.fullmatch(word)]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ScenarioError(f"bridge line: {wrong[0]!r} is neither a fingerprint nor KEY=VALUE")
    arguments = {key: value for key, _, value in pairs}
    for key in _NEEDED.get(transport, ()):
        if not arguments.get(key):
            raise ScenarioError(f"bridge line: {key}: missing")
    return arguments


FORMAT = Format(_reads, _read)
