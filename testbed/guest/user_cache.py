"""The folder in which the project keeps what it has fetched and built."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Return the cache folder that all of a user's checkouts share; it need not exist yet."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory Specification says that a relative path is to be ignored.
    home = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return home / "call-testbed"
