"""The `/etc` of guests: the same whatever the host has, and enough for programs to work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.guest.kernel.etc import FROM_HOST, HOST_PLACE, LOADER_CACHE, make_etc
from tests.kernel.test_kernel_guest import Bench, bench

__all__ = ["bench"]


def made(folder: Path, host: Path) -> dict[str, bytes]:
    make_etc(folder, host)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_nothing_but_the_loaders_cache_comes_from_the_host(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for host, lines in ((one, 1), (other, 2000)):
        host.mkdir()
        for name in ("hosts", "passwd", "nsswitch.conf", "localtime", "resolv.conf"):
            (host / name).write_text("a line\n" * lines)
        (host / LOADER_CACHE).write_bytes(b"cache" * lines)
    first, second = made(tmp_path / "a", one), made(tmp_path / "b", other)
    assert first.keys() == second.keys()
    caches = [files.pop(LOADER_CACHE) for files in (first, second)]
    assert first == second
    assert "localtime" not in first
    assert len(caches[0]) == len(caches[1])
    assert caches[1].rstrip(b"\0") == b"cache" * 2000


def test_a_host_without_a_loaders_cache_has_a_guest_with_an_empty_one(tmp_path: Path) -> None:
    assert not made(tmp_path / "etc", tmp_path)[LOADER_CACHE].strip(b"\0")


@pytest.mark.guest
def test_a_guest_sees_it_finds_libraries_and_cannot_write_there(bench: Bench) -> None:
    folders = " ".join(f"/etc/{name}/" for name in FROM_HOST)
    script = (
        'cat /etc/hosts; test ! -e /etc/localtime; test -z "$(ls /usr/lib/locale)"\n'
        f"ls -d {folders} >/dev/null || echo no folder\n"
        f"cmp -n 1000 /etc/{LOADER_CACHE} {HOST_PLACE}/{LOADER_CACHE} && echo same libraries\n"
        "touch /etc/x 2>/dev/null || echo read-only\n"
    )
    assert bench.run("sh", "-c", script).exit_status == 0
    hosts = "127.0.0.1 localhost\n::1 localhost\n"
    assert bench.stdout == f"{hosts}same libraries\nread-only\n"


@pytest.mark.guest
def test_the_users_own_files_are_roots_in_a_guest(bench: Bench) -> None:
    script = "touch x; chown root:root x; stat -c '%u %g' . x"
    assert bench.run("sh", "-c", script).exit_status == 0, bench.stderr
    assert bench.stdout == "0 0\n0 0\n"
    assert (bench.folder / "x").stat().st_uid == os.geteuid()
