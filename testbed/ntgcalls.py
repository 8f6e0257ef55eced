"""Telegram's call engine as a library, pinned: which file, and what brings it; runs nothing.

ntgcalls (LGPL-3, github.com/pytgcalls/ntgcalls) is tgcalls' protocol on libwebrtc. It is loaded as
it is, by a program of its own (`testbed.lab.ntgcalls_end`).
"""

from __future__ import annotations

import sys

from testbed.transport import Program

_FILES = {
    "311": "c1f348e2e21adb1ce7414a646704c55c95245cec13e2fc1ee5fe38e9a6d29b3b",
    "312": "3e9ec6ab28481183b9ec6cac5446b625009c4a1465f577190fc11f1c33c8f73b",
    "313": "b9a4db1d6d86ec262cfd0794cf96f872e16dd4e07c75f741b0bff648c90b7071",
    "314": "8b53a76020e67374ca7dd85cb80be986d8c05709fb92cdc981ea9859c8e46a68",
}
"""By version of Python: what the library's file in the wheel for x86-64 hashes to."""
_PYTHON = f"{sys.version_info.major}{sys.version_info.minor}"

LIBRARY = Program(
    "ntgcalls",
    pypi="ntgcalls==3.0.5",
    inside=f"ntgcalls.cpython-{_PYTHON}-x86_64-linux-gnu.so",
    sha256=_FILES.get(_PYTHON, ""),
)
