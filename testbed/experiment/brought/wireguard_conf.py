"""Configuration files of WireGuard (wg-quick(8)) and of AmneziaWG, which adds junk packets.

No registry has AmneziaWG's program. Its junk packets are sent by Xray's WireGuard, as noise.
Source of its keys: https://docs.amnezia.org/documentation/amnezia-wg/
"""

from __future__ import annotations

import re

from testbed.experiment.brought._files import is_file, read_text
from testbed.experiment.brought.brought import Brought, Format, check_known
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.names import Name

_JUNK = ("Jc", "Jmin", "Jmax")
_DISGUISE = (
    *(f"{letter}{number}" for letter in "SH" for number in range(1, 5)),
    *(f"I{number}" for number in range(1, 6)),
)
"""Padding, changed types of messages, and imitated packets."""
_INTERFACE = (
    *("PrivateKey", "Address", "DNS", "MTU", "ListenPort", "Table", "FwMark", "SaveConfig"),
    *("PreUp", "PostUp", "PreDown", "PostDown"),
)
_PEER = ("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive")
_SECTIONS = {
    "interface": (*_INTERFACE, *_JUNK, *_DISGUISE),
    "peer": (*_PEER, "AdvancedSecurity"),
}
_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
_MOST_JUNK = 128
"""The largest Jc, as AmneziaWG's documentation says."""


def _read(path: str) -> Brought:
    sections = _parse(read_text(path), path)
    for section, key in (
        ("interface", "PrivateKey"),
        ("peer", "PublicKey"),
        ("peer", "Endpoint"),
    ):
        value = sections.get(section, {}).get(key, "")
        if not value:
            raise ScenarioError(f"{path}: [{section.title()}] {key}: missing")
        if key.endswith("Key") and not _KEY.fullmatch(value):
            raise ScenarioError(f"{path}: [{section.title()}] {key}: it is no key of 32 bytes")
    interface, peer = sections["interface"], sections["peer"]
    replaced = (f"the server {peer['Endpoint']}", "PrivateKey", "PublicKey", "Address")
    lost = [
        f"{key}: the lab's tunnel has its own"
        for key in ("MTU", "DNS", "PresharedKey", "PersistentKeepalive")
        if key in {**interface, **peer}
    ]
    if not set(interface) & {*_JUNK, *_DISGUISE}:
        return Brought(f"{path}: WireGuard", Name("wireguard"), replaced=replaced, lost=tuple(lost))
    lost += [
        f"{key}: no program here changes WireGuard's own packets, so they stay recognisable"
        for key in _DISGUISE
        if interface.get(key, "0") not in ("0", "")
    ]
    name = Name("xray_wireguard", _junk(interface, path))
    return Brought(f"{path}: AmneziaWG", name, replaced=replaced, lost=tuple(lost))


def _junk(interface: dict[str, str], path: str) -> dict[str, object]:
    """Return the parameters by which Xray sends as much junk."""
    numbers = {}
    for key in _JUNK:
        text = interface.get(key, "0")
        if not re.fullmatch(r"[0-9]{1,4}", text):
            raise ScenarioError(f"{path}: [Interface] {key}: {text!r} is no number below 10000")
        numbers[key] = int(text)
    if numbers["Jc"] > _MOST_JUNK:
        raise ScenarioError(f"{path}: [Interface] Jc: at most {_MOST_JUNK}")
    if numbers["Jmin"] > numbers["Jmax"]:
        raise ScenarioError(f"{path}: [Interface] Jmin: it is above Jmax")
    if not numbers["Jc"] or not numbers["Jmax"]:
        return {"finalmask": "none"}
    size = f"{max(numbers['Jmin'], 1)}-{numbers['Jmax']}"
    return {"finalmask": "noise", "noise_packets": numbers["Jc"], "noise_bytes": size}


def _parse(text: str, path: str) -> dict[str, dict[str, str]]:
    """Return the sections by name in small letters, with their keys; the first peer alone."""
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        if content.startswith("["):
            name = content.strip("[]").lower()
            check_known(f"{path}: line {number}", [name], _SECTIONS)
            section = {}
            sections.setdefault(name, section)
            known = {key.lower(): key for key in _SECTIONS[name]}
            continue
        key, equals, value = (part.strip() for part in content.partition("="))
        if not equals or not sections:
            raise ScenarioError(f"{path}: line {number}: expected KEY = VALUE below [Interface]")
        check_known(f"{path}: line {number}", [known.get(key.lower(), key)], known.values())
        section[known[key.lower()]] = value
    return sections


FORMAT = Format(lambda text: is_file(text, ".conf"), _read)
