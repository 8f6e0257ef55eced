"""Makes the `/etc` that guests see, the same on every machine; mounts nothing.

What programs read there when they start is time in a guest, and what it says is an answer: an
unrelated package that grows the loader's cache, a line in `/etc/hosts` or another order of
name services would move a cell's times or change what it does. So guests see these files and no
others, and of the host's only the entries in `FROM_HOST`, which programs do not work without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

HOST_PLACE = Path("/run/host-etc")
"""Where a guest has the host's own (`init.c`)."""
FROM_HOST = ("alternatives", "fonts", "ssl/certs")
"""Entries that are the host's: they say where its programs, typefaces and authorities lie."""
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
"""A host's loader cache has some tens of KB: the guest's is as large, whatever the host has."""


def make_etc(folder: Path, host: Path = Path("/etc")) -> None:
    """Make a guest's `/etc` in a folder that does not exist yet.

    Raises:
        OSError: It cannot be made.
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
            path.chmod(0o755 if path.is_dir() else 0o644)  # whatever the user's umask is
        os.utime(path, (0, 0), follow_symlinks=False)


def _loader_cache(path: Path) -> bytes:
    """Return where libraries lie, in a file whose size does not tell how many there are.

    The loader (ld.so(8)) counts by the file's header and does not look at what follows. A host
    without a cache has none that is found: the loader then searches its default folders.
    """
    content = path.read_bytes() if path.is_file() else b""
    return content.ljust(-(-max(len(content), 1) // _CACHE_BLOCK_BYTES) * _CACHE_BLOCK_BYTES, b"\0")
