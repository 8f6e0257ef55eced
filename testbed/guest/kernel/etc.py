"""Creates the `/etc` that guests see, which is the same on every machine.

Programs read files in `/etc` when they start, which takes virtual time, and act on what they find:
an unrelated package that enlarges the loader's cache, a line in `/etc/hosts` or another order of
name services would change a cell's times or its results. So guests see these files and no others;
from the host's `/etc` they only see the entries in `FROM_HOST`, which programs cannot do without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

HOST_PLACE = Path("/run/host-etc")
"""Where the host's `/etc` is mounted in a guest (by `init.c`)."""
FROM_HOST = ("alternatives", "fonts", "ssl/certs")
"""Entries taken from the host: they locate its programs, fonts and certificate authorities."""
LOADER_CACHE = "ld.so.cache"
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
_CACHE_BLOCK_BYTES = 1 << 18
"""The size of the guest's loader cache on every host; the hosts' own have some tens of KB."""


def make_etc(folder: Path, host: Path = Path("/etc")) -> None:
    """Create a guest's `/etc` in a folder that does not exist yet.

    Raises:
        OSError: It cannot be created.
    """
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in FROM_HOST:
        (folder / name).symlink_to(HOST_PLACE / name)
    (folder / LOADER_CACHE).write_bytes(_loader_cache(host / LOADER_CACHE))
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)  # independent of the user's umask
        os.utime(path, (0, 0), follow_symlinks=False)


def _loader_cache(path: Path) -> bytes:
    """Return the host's loader cache, padded so that its size is the same on every host.

    The loader (ld.so(8)) takes the number of entries from the header and ignores what follows. If
    the host has no cache, the result is not a valid one, and the loader searches its default
    folders.
    """
    content = path.read_bytes() if path.is_file() else b""
    return content.ljust(-(-max(len(content), 1) // _CACHE_BLOCK_BYTES) * _CACHE_BLOCK_BYTES, b"\0")
