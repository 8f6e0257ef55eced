"""Makes a tree of another Debian suite, in which the project runs as on a host with that suite.

The tree is made like the lab image, by apt and without root: packages of the suite are unpacked
into a folder without their scripts, next to the wheels that the project needs for the suite's
Python. Programs are run in it by a mount namespace that shows the checkout and the user's cache. So
the kernel is this machine's, and everything else is the other suite's: interpreter, C library and
programs. Versions are those of the day on which the tree is made; it is kept in the user's cache.
"""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from testbed.experiment.scenario import ROOT
from testbed.guest.image.archives import unpack_package
from testbed.guest.image.enter import ENVIRONMENT, entered
from testbed.guest.image.lock import short_hash
from testbed.guest.image.mirror import fetch, pip_install
from testbed.guest.image.tree import Report, lay_out, new_folder, write_loaders_cache
from testbed.guest.image.update import SPEECH, Apt
from testbed.guest.user_cache import user_cache

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""The suites, each with the version of its Python: Debian 12 and 13."""
_PACKAGES = (
    *("bash", "coreutils", "dash", "diffutils", "findutils", "grep", "gzip", "hostname"),
    *("libc-bin", "libpcap0.8", "libstdc++6", "mount", "obfs4proxy", "openssl", "procps"),
    *("python3", "sed", "tar", "util-linux", SPEECH),
)
"""What the host's part and the quick tests use of a host."""
_TEST_PACKAGES = ("beautifulsoup4", "hypothesis", "pytest", "pytest-xdist")
_RUN = Path("/run")
_CHECKOUT, _WHEELS, _CACHE = _RUN / "checkout ü", _RUN / "wheels", _RUN / "cache"
"""Where the tree shows them; a checkout's path may have blanks and any letters."""


def other_suite() -> str:
    """Return the suite that this machine does not have."""
    here = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return "bookworm" if here == "trixie" else "trixie"


def suite_folder(suite: str, report: Report) -> Path:
    """Return the folder with a suite's tree and wheels, which is made if it is not there yet.

    Raises:
        ImageError: It cannot be made.
    """
    constraints = ROOT / "constraints.txt"
    requirements = [*_requirements(), "--constraint", str(constraints)]
    key = short_hash(suite, *_PACKAGES, *_requirements(), constraints.read_text("utf-8"))
    place = user_cache() / "suites" / f"{suite}-{key}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with (
            TemporaryDirectory(prefix="new-", dir=place.parent) as scratch,
            new_folder(place) as fresh,
        ):
            _make_tree(suite, Path(scratch), fresh / "root", report)
            report(f"installs Python packages for {suite}")
            pip_install(requirements, fresh / "wheels", PYTHONS[suite])
    return place


def _requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [*project["dependencies"], *_TEST_PACKAGES]


def _make_tree(suite: str, scratch: Path, tree: Path, report: Report) -> None:
    report(f"asks apt for packages of {suite}")
    apt = Apt(scratch / "apt", suite)
    files = apt.describe(apt.closure(_PACKAGES))
    parts = []
    for file, archive in fetch(
        list(files.values()), scratch, lambda file: report(f"fetched {file.name}")
    ):
        parts.append(scratch / "parts" / file.name)
        unpack_package(archive, parts[-1])
    lay_out(tree, parts)
    write_loaders_cache(tree)


def python_in(folder: Path, words: Sequence[str]) -> list[str]:
    """Return the command that runs a suite's Python in the checkout.

    Raises:
        ImageError: This system does not allow it.
    """
    environment = {
        **ENVIRONMENT,
        "PYTHONPATH": f"{_CHECKOUT}:{_WHEELS}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": str(_CACHE),
    }
    shown = {
        _CHECKOUT: ROOT,
        _WHEELS: folder / "wheels",
        _CACHE / user_cache().name: user_cache(),
    }
    settings = [f"{name}={value}" for name, value in environment.items()]
    inside = ["env", "-i", "-C", str(_CHECKOUT), *settings, "python3", *words]
    return entered(folder / "root", inside, shown)
