"""The root of guests: it shows nothing of the host, its file system, its processor or its clock."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest

from testbed.guest.kernel.guest import START_NS, GuestOptions
from tests.kernel.guest_bench import Bench

pytestmark = pytest.mark.guest

LIST = (
    "import os, sys\n"
    "for place, folders, files in os.walk(sys.argv[1]):\n"
    "    print(place, os.listdir(place), os.statvfs(place))\n"
    "    for name in (*folders, *files):\n"
    "        print(name, os.lstat(os.path.join(place, name)))\n"
    "with os.scandir(sys.argv[1]) as found:\n"
    "    print([(entry.name, entry.inode(), entry.is_dir()) for entry in found])\n"
)
CPUINFO = """\
processor\t: 0
vendor_id\t: User Mode Linux
model name\t: UML
mode\t\t: skas
fpu\t\t: yes
flags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm constant_tsc
bogomips\t: 4000.00
"""


def test_a_guest_has_our_etc_and_cannot_write_there(bench: Bench) -> None:
    script = "cat /etc/hosts; test ! -e /etc/localtime; touch /etc/x 2>/dev/null || echo read-only"
    assert bench.run("sh", "-c", script).exit_status == 0
    assert bench.stdout == "127.0.0.1 localhost\n::1 localhost\nread-only\n"


def test_the_users_own_files_are_roots_in_a_guest(bench: Bench) -> None:
    script = "touch x; chown root:root x; stat -c '%u %g' . x"
    assert bench.run("sh", "-c", script).exit_status == 0, bench.stderr
    assert bench.stdout == "0 0\n0 0\n"
    assert (bench.folder / "x").stat().st_uid == os.geteuid()


def files(folder: Path, names: list[str]) -> Path:
    """A folder with some files, made in this order."""
    for name in names:
        path = folder / "sub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def test_equal_folders_look_equal_whatever_file_system_they_are_on(
    bench: Bench, tmp_path: Path
) -> None:
    names = [f"file {number}" for number in range(300)]
    first = files(tmp_path / "one", names)
    memory = Path(mkdtemp(dir="/dev/shm"))
    listings = []
    try:
        second = files(memory / "other", names[::-1])
        (memory / "a link").hardlink_to(second / "sub" / "file 7")
        for folder in (first, second):
            options = GuestOptions(mounts={Path("/run/seen"): folder})
            assert bench.run("python3", "-c", LIST, "/run/seen", options=options).exit_status == 0
            listings.append(bench.stdout)
    finally:
        shutil.rmtree(memory)
    assert listings[0] == listings[1]
    assert f"st_mtime={START_NS // 10**9}" in listings[0]


def test_a_folder_is_listed_whole_while_files_come_and_go(bench: Bench) -> None:
    program = (
        "import os\n"
        "os.mkdir('d')\n"
        "for n in range(3000): open(f'd/{n}', 'w').close()\n"
        "with os.scandir('d') as found:\n"
        "    for entry in found: os.unlink(entry.path)\n"
        "print(os.listdir('d'))\n"
    )
    assert bench.run("python3", "-c", program).exit_status == 0, bench.stderr
    assert bench.stdout == "[]\n"


def test_neither_processor_nor_paths_of_the_host_are_shown(bench: Bench) -> None:
    assert bench.run("sh", "-c", "cat /proc/cpuinfo; nproc; cat /proc/mounts").exit_status == 0
    cpuinfo, _, mounts = bench.stdout.partition("\n1\n")
    assert cpuinfo + "\n" == CPUINFO
    assert "hostfs" in mounts
    assert str(bench.folder) not in mounts
    assert "vt-" not in mounts
