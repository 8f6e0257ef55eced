"""Profiles of OpenVPN (openvpn(8)), of which the lab keeps whether they use UDP or TCP."""

from __future__ import annotations

import re

from testbed.experiment.brought._files import is_file, read_text
from testbed.experiment.brought.brought import Brought, Format
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.names import Name

_BLOCK = re.compile(r"<(?P<name>[a-z0-9-]+)>.*?</(?P=name)>", re.DOTALL)
_OPEN_BLOCK = re.compile(r"^<(?P<name>[a-z0-9-]+)>", re.MULTILINE)
_KEYS = ("ca", "cert", "key", "pkcs12", "auth-user-pass", "tls-auth", "tls-crypt", "tls-crypt-v2")
_LOST = {
    "tls-auth": "the lab's server does not sign the control channel",
    "tls-crypt": "the lab's server does not encrypt the control channel, so it is recognised",
    "tls-crypt-v2": "the lab's server does not encrypt the control channel, so it is recognised",
    "scramble": "OpenVPN's own program does not have it",
    "comp-lzo": "the lab's server does not compress",
    "compress": "the lab's server does not compress",
    "http-proxy": "the lab's clients connect directly",
    "socks-proxy": "the lab's clients connect directly",
    "cipher": "both sides agree on AES-256-GCM, OpenVPN's own choice",
    "data-ciphers": "both sides agree on AES-256-GCM, OpenVPN's own choice",
}
_PROTOCOLS = {"udp": "udp", "udp4": "udp", "udp6": "udp", "tcp": "tcp", "tcp4": "tcp"}
_PROTOCOLS |= {"tcp6": "tcp", "tcp-client": "tcp", "tcp4-client": "tcp", "tcp6-client": "tcp"}


def _read(path: str) -> Brought:
    text = read_text(path)
    outside = _BLOCK.sub("", text)
    if (block := _OPEN_BLOCK.search(outside)) is not None:
        raise ScenarioError(f"{path}: <{block['name']}>: its end is missing")
    blocks = [found["name"] for found in _BLOCK.finditer(text)]
    options: dict[str, list[str]] = {name: [] for name in blocks if name != "connection"}
    for line in outside.splitlines():
        if words := re.split(r"[#;]", line)[0].split():
            options.setdefault(words[0], words[1:])
    if not options.get("remote"):
        raise ScenarioError(f"{path}: remote: missing: the server's name or address")
    if not options.get("dev", ["tun"])[:1] == ["tun"] and not options["dev"][0].startswith("tun"):
        raise ScenarioError(f"{path}: dev: {options['dev'][0]!r}: the lab runs `tun` only")
    remote = options["remote"]
    named = remote[2] if len(remote) > 2 else (options.get("proto") or ["udp"])[0]
    if named not in _PROTOCOLS:
        raise ScenarioError(f"{path}: proto: {named!r} is neither udp nor tcp")
    replaced = [f"the server {remote[0]}", *(key for key in _KEYS if key in options)]
    lost = [f"{key}: {_LOST[key]}" for key in _LOST if key in options]
    name = Name("openvpn", {"over": _PROTOCOLS[named]})
    return Brought(
        f"{path}: a profile of OpenVPN", name, replaced=tuple(replaced), lost=tuple(lost)
    )


FORMAT = Format(lambda text: is_file(text, ".ovpn"), _read)
