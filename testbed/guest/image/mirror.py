"""Fetches the files of the lock: packages from a mirror of Debian, wheels by pip.

Only the exact file of the lock is accepted, whatever a mirror serves.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from testbed.guest.image.lock import PYPI, ImageError, LockedFile

MIRROR_VARIABLE = "TESTBED_MIRROR"
"""The environment variable with a mirror's URL, which then is the only one that is asked."""
DEFAULT_MIRROR = "https://deb.debian.org/debian"
_TIMEOUT_S = 60.0
_BLOCK_BYTES = 1 << 18
_AT_A_TIME = 4
PYTHON = "3.13"
"""The version of Python in the image."""
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64")

Fetched = Callable[[LockedFile], object]
"""Called with each file that was fetched."""


def fetch(
    files: Sequence[LockedFile], folder: Path, report: Fetched
) -> Iterator[tuple[LockedFile, Path]]:
    """Fetch files into a folder; yield each with its path as soon as it is there.

    Raises:
        ImageError: A file cannot be had; the message names it.
    """
    packages = [file for file in files if not file.is_wheel]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        fetched = pool.map(lambda file: _fetch_package(file, folder), packages)
        try:
            for file, path in zip(packages, fetched, strict=True):
                report(file)
                yield file, path
        finally:
            pool.shutdown(cancel_futures=True)
    for file, path in _fetch_wheels([file for file in files if file.is_wheel], folder):
        report(file)
        yield file, path


@cache
def mirrors() -> tuple[str, ...]:
    """Return the mirrors to ask, in this order: those of the host's apt, then Debian's own."""
    if given := os.environ.get(MIRROR_VARIABLE):
        return (given.rstrip("/"),)
    found = _apt("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    hosts = (url.rstrip("/") for url in found.split())
    return tuple(
        dict.fromkeys([*(url for url in hosts if url.endswith("/debian")), DEFAULT_MIRROR])
    )


@cache
def _opener() -> urllib.request.OpenerDirector:
    """Return what opens URLs: by the proxies of the environment, or else by those of apt."""
    text = _apt("apt-config", "dump", "Acquire")
    proxies = dict(re.findall(r'^Acquire::(https?)::Proxy "([^"]+)";$', text, re.MULTILINE))
    proxies.update(urllib.request.getproxies())
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies))


def _apt(*command: str) -> str:
    """Return what a command of apt prints; nothing where there is no apt."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _fetch_package(file: LockedFile, folder: Path) -> Path:
    path = folder / file.sha256
    failures = []
    for mirror in mirrors():
        url = f"{mirror}/{file.path}"
        try:
            digest = _download(url, path)
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
            continue
        if digest == file.sha256:
            return path
        failures.append(f"{url}: it is another file (sha256 {digest[:12]}, not {file.sha256[:12]})")
    raise ImageError(
        f"cannot fetch {file.name} {file.version}, a file of the lab image: {'; '.join(failures)}. "
        "If this machine has no network, or Debian has a newer version by now: `testbed image load "
        "FILE` takes an image that was saved elsewhere, and `testbed image update` makes one of "
        "today's versions, with which results may differ"
    )


def _download(url: str, path: Path) -> str:
    """Download a file; return its SHA-256 (hexadecimal)."""
    digest = hashlib.sha256()
    with _opener().open(url, timeout=_TIMEOUT_S) as answer, path.open("wb") as file:
        while block := answer.read(_BLOCK_BYTES):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _fetch_wheels(files: Sequence[LockedFile], folder: Path) -> Iterable[tuple[LockedFile, Path]]:
    if not files:
        return []
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        for file in files:
            name = file.name.removeprefix(PYPI)
            requirements.write(f"{name}=={file.version} --hash=sha256:{file.sha256}\n")
        requirements.flush()
        pip_download(["--no-deps", "--require-hashes", "-r", requirements.name], folder)
    return [(file, folder / file.path) for file in files]


def pip_download(words: Sequence[str], folder: Path) -> None:
    """Download wheels for the image's Python into a folder.

    Raises:
        ImageError: pip failed.
    """
    _pip("download", PYTHON, ["--dest", str(folder), *words])


def pip_install(words: Sequence[str], folder: Path, python: str) -> None:
    """Install wheels into a folder from which a Python of another version, such as 3.11, imports.

    Raises:
        ImageError: pip failed.
    """
    _pip("install", python, ["--no-compile", "--target", str(folder), *words])


def _pip(verb: str, python: str, words: Sequence[str]) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    options += ["--python-version", python, "--implementation", "cp"]
    options += [word for platform in _PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", verb, *options, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageError(
            f"pip cannot fetch packages for Python {python}: {done.stderr.strip()[-1000:]}. "
            "`testbed image load FILE` takes an image that was saved elsewhere"
        )
