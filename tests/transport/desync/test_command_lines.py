"""What people paste is understood, or the option that is not is named with what would be lost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import programs_of
from testbed.experiment.scenario import SCENARIOS
from testbed.transport.client_side import Noting
from testbed.transport.desync import nfqws
from testbed.transport.desync.byedpi import _SHORT
from testbed.transport.desync.command_line import words
from testbed.transport.desync.pasted_command import read_strategy
from testbed.transport.desync.strategy import StrategyError
from tests.command import command
from tests.transport.desync.told import nothing

BATCH = r"""@echo off
chcp 65001 > nul
:: 65001 - UTF-8
cd /d "%~dp0"
call service.bat load_game_filter
set "BIN=%~dp0bin\"
set "LISTS=%~dp0lists\"

start "zapret: %~n0" /min "%BIN%winws.exe" --wf-tcp=80,443,%GameFilter% --wf-udp=443,1400 ^
--filter-udp=443 --hostlist="%LISTS%list-general.txt" --dpi-desync=fake --dpi-desync-repeats=6 ^
--dpi-desync-fake-quic="%BIN%quic_initial_www_google_com.bin" --new ^
--filter-udp=1400,50000-50100 --filter-l7=discord,stun --dpi-desync=fake --dpi-desync-repeats=6
"""
CONFIG = """NFQWS_OPT="
--filter-tcp=443 ˂HOSTLIST˃ --dpi-desync=fake,multidisorder \\
--dpi-desync-split-pos=1,midsld
# a remark
--new
--filter-udp=443 <HOSTLIST_NOAUTO> --dpi-desync=fake
"
"""


def test_a_batch_file_is_read_with_its_variables_and_what_stands_for_its_files() -> None:
    strategy = read_strategy(BATCH, nothing)
    assert [len(tactic.filter.udp) for tactic in strategy.tactics] == [1, 2]
    assert [tactic.repeats for tactic in strategy.tactics] == [6, 6]
    assert (12 in strategy.tcp[2], len(strategy.udp)) == (True, 2)
    assert list(strategy.notes) == [
        "%GameFilter% is taken to be off (port 12)",
        "the lab's messengers stand for the list list-general.txt",
        "quic_initial_www_google_com.bin is not here: a QUIC Initial for www.google.com is made",
    ]


def test_a_line_of_zaprets_configuration_is_read() -> None:
    strategy = read_strategy(CONFIG, nothing)
    assert [tactic.filter.hosts for tactic in strategy.tactics] == 2 * [
        frozenset({"messenger.example"})
    ]
    assert list(strategy.notes) == [
        "the lab's messengers stand for the list HOSTLIST",
        "the lab's messengers stand for the list HOSTLIST_NOAUTO",
    ]


def test_files_that_are_here_are_read_and_go_with_the_strategy() -> None:
    files = {"f.bin": b"abcd", "hosts.txt": b"# mine\ntelegram.org\n", "ip.txt": b"10.2.0.0/16\n"}
    strategy = read_strategy(
        "--hostlist=hosts.txt --ipset=ip.txt --dpi-desync=fake --dpi-desync-fake-stun=+1@f.bin",
        files.get,
    )
    [tactic] = strategy.tactics
    assert tactic.fakes["stun"][0].content == b"bcd"
    assert tactic.filter.hosts == frozenset({"telegram.org"})
    assert list(strategy.files) == ["hosts.txt", "ip.txt", "f.bin"]
    assert list(strategy.notes) == [
        "--hostlist=hosts.txt names no host of the lab (*.messenger.example)"
    ]


@pytest.mark.parametrize(
    ("pasted", "note"),
    [
        (
            "--hostlist-exclude=x.txt --dpi-desync=fake",
            "the list x.txt is not here, so",
        ),
        ("--filter-udp=443 --dpi-desync=fake,disorder", "disorder cuts TCP, so it changes nothing"),
        ("--dpi-desync=hopbyhop,fake", "hopbyhop is for IPv6"),
        ("--dpi-desync=tamper", "tamper changes DHT alone"),
        (
            "--dpi-desync=fake --dpi-desync-fake-stun=stun.bin",
            "stun.bin is not here: a STUN message is made",
        ),
        ("ciadpi -s1", "byedpi is a proxy that apps must use"),
        ('"%NOWHERE%winws.exe" --dpi-desync=fake', "%NOWHERE% is not set"),
        (
            "--dpi-desync=split2 --dpi-desync-split-seqovl-pattern=tls_clienthello_x_com.bin",
            "tls_clienthello_x_com.bin is not here: a ClientHello for x.com is made",
        ),
    ],
)
def test_what_is_understood_otherwise_is_said(pasted: str, note: str) -> None:
    assert [found for found in read_strategy(pasted, nothing).notes if note in found]


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("--wssize=1:6", r"--wssize=1:6 is not supported: without it, servers would send"),
        ("--dpi-desync=syndata,fake", r"=syndata is not supported: without it, the SYN would"),
        ("--dpi-desync=fale", r"there is no mode 'fale'"),
        ("--lua-desync=fake:blob=b", r"--lua-desync=fake:blob=b .* run your own nfqws2"),
        ("--payload=stun", r"--payload=stun is not supported"),
        ("--dpi-desyn=fake", r"no option --dpi-desyn\. Did you mean 'dpi-desync'"),
        ("--filter-udp=70000", r"'70000' is no port"),
        ("--filter-udp=9-1", r"'9-1' is no port or range"),
        ("--filter-l7=telegram", r"'telegram' is none of http, tls"),
        ("--dpi-desync-cutoff=x3", r"a number such as n3"),
        ("--dpi-desync-split-pos=hos", r"'hos' is neither an offset nor one of"),
        ("--dpi-desync-fooling=badsun", r"there is no fooling 'badsun'"),
        ("--dpi-desync-ttl=300", r"a TTL is from 1 to 255"),
        ("--dpi-desync-ttl=four", r"a whole number is expected"),
        ("--dpi-desync-repeats=0", r"from 1 to 1024"),
        ("--dpi-desync-ipfrag-pos-udp=9", r"a multiple of 8"),
        ("--dpi-desync-fake-stun=mine.bin", r"mine\.bin is not here, and no fake of that name"),
        ("--dpi-desync-fake-stun=0xfg", r"not hexadecimal"),
        ("--dpi-desync-fake-tls-mod=padencap", r"a fake's padding would not cover"),
        ("--ip-id=seqgroup", r"fakes in the place of pieces would have numbers of their own"),
        ("--ip-id=five", r"expected is one of seq, zero, rnd"),
        ("--dpi-desync-hostfakesplit-mod=altorder=1", r"would leave in the usual order"),
        ("--dpi-desync-autottl=x", r"expected is \[\+\|-\]DELTA"),
        ("--orig-tcp-flags-set=SYN,XYZ", r"no TCP flag 'XYZ'"),
        ("--ipset-ip=nowhere", r"'nowhere' is no address"),
        ("--new stray", r"'stray' is no option"),
        ("ciadpi --oob 1", r"--oob is not supported: without it, no byte"),
        ("ciadpi -s 1+x", r"expected is OFFSET"),
        ("ciadpi -s1 -At,r -d1", r"--auto=t,r is not supported: without it, what follows"),
        ("ciadpi --sprit 1", r"no option --sprit\. Did you mean 'split'"),
        ("goodbyedpi.exe -9", r"goodbyedpi's options are not read here"),
    ],
)
def test_what_is_not_supported_is_named_with_what_would_be_lost(pasted: str, said: str) -> None:
    with pytest.raises(StrategyError, match=said):
        read_strategy(pasted, nothing)


def test_the_transport_names_the_option_and_takes_only_one_kind_of_words() -> None:
    with pytest.raises(ScenarioError, match=r"transport desync: --wssize=1 is not supported"):
        load_transport(transport_choice('desync {strategy = "--wssize=1"}'))
    with pytest.raises(ScenarioError, match="a command line says all"):
        load_transport(transport_choice('desync {strategy = "--dup=1", pad = 3}'))
    for wrong, said in (
        ('fake = "tls"', "the server's name is missing"),
        ('fake = "sturn"', "neither random, zeros, stun"),
        ("pad = 2, fragment = 8", "changed in one of these ways"),
        ("fragment = 7", "multiple of 8"),
        ('ports = "x"', "no port"),
        ('split = ["nowhere"]', "neither an offset"),
    ):
        with pytest.raises(ScenarioError, match=said):
            load_transport(transport_choice(f"desync {{{wrong}}}"))


def test_a_transports_files_and_notes_are_known_before_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "mine.bin"
    file.write_bytes(b"mine")
    pasted = f"--hostlist=gone.txt --dpi-desync=fake --dpi-desync-fake-quic={file}"
    made = load_transport(transport_choice(f"desync {{strategy = '{pasted}'}}"))
    assert [program.find() for program in programs_of(made)] == [file]
    assert isinstance(made, Noting)
    assert list(made.notes) == ["the lab's messengers stand for the list gone.txt"]


def test_a_run_says_first_how_a_strategy_was_understood(tmp_path: Path) -> None:
    scenario = tmp_path / "mine.toml"
    text = (SCENARIOS / "strategies.toml").read_text()
    scenario.write_text(text)
    done = command("run", str(scenario), "--dry-run")
    assert done.status == 0, done.err
    said = " ".join(done.err.split())
    assert "zapret-openwrt 377: multidisorder cuts TCP, so it changes nothing" in said
    assert "zapret-openwrt 520: the lab's messengers stand for the list cust1.txt" in said
    assert "zapret-discord 4580: %GameFilter% is taken to be off (port 12)" in said
    scenario.write_text(text.replace("--dpi-desync-ttl=1", "--wssize=1:6"))
    done = command("run", str(scenario), "--dry-run")
    assert done.status == 2
    assert "transport zapret-openwrt 520: --wssize=1:6 is not supported: without it" in " ".join(
        done.err.split()
    )


names = st.sampled_from([*nfqws._READERS, *_SHORT.values(), "wssize", "nothing"])
parts = st.text("0123456789abcdefghijkmnps,-+:~=xX!@*?. ", max_size=12)
options = st.builds("--{}={}".format, names, parts) | st.builds("-{}{}".format, names, parts)


@given(st.lists(options | parts, max_size=5).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_strategy_or_an_error_of_its_own(text: str) -> None:
    with suppress(StrategyError):
        strategy = read_strategy(text, nothing)
        assert all("\n" not in note for note in strategy.notes)


@given(st.text(max_size=80))
def test_any_text_has_words(text: str) -> None:
    program, found, notes = words(text)
    assert isinstance(program, str)
    assert all(found)
    assert len(set(notes)) == len(notes)
