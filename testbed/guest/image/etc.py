"""Writes the `/etc` of a lab image, in addition to the files that its packages bring there.

Programs read files in `/etc` when they start, which takes virtual time, and act on what they find,
such as a line in `/etc/hosts` or an order of name services. So these files are the same for all
guests, whatever the host's are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_AUTHORITIES = Path("usr/share/ca-certificates")
_BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")
_FILES: Mapping[str, str] = {
    "group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "host.conf": "multi on\n",
    "hostname": "guest\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "".join(
        f"{database}: {sources}\n"
        for database, sources in {
            **dict.fromkeys(("passwd", "group", "shadow", "protocols", "services"), "files"),
            "hosts": "files dns",
        }.items()
    ),
    "passwd": (
        "root:x:0:0:root:/run/home:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "protocols": "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n",
    "resolv.conf": "",
    "services": "domain 53/tcp\ndomain 53/udp\nhttp 80/tcp\nhttps 443/tcp\nhttps 443/udp\n",
    "ssl/openssl.cnf": "",
}


def write_etc(tree: Path) -> None:
    """Write our files into a tree's `/etc`, in place of those of its packages."""
    for name, text in _FILES.items():
        _write(tree / "etc" / name, text)
    authorities = sorted((tree / _AUTHORITIES).rglob("*.crt"))
    if authorities:  # what the script of the package ca-certificates would do
        _write(tree / _BUNDLE, "".join(path.read_text("ascii") for path in authorities))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A package's file must be replaced, not written to: other trees have it, too.
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o644)
