"""Detectors against real programs, whose packets are taken in the lab: a confusion matrix."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio

from testbed.censor.censor import Censor
from testbed.censor.profile import Profile
from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.loading import programs_of
from testbed.guest.kernel.builder import Kernel
from testbed.guest.programs import missing
from testbed.record.results import Run
from testbed.run.runner import Done, in_guest, run_cells
from tests.censor import captures
from tests.censor.packets import joining, profile
from tests.censor.stated import EVERYTHING
from tests.lab.conftest import short_cell

pytestmark = pytest.mark.guest
CPUS = sorted(os.sched_getaffinity(0))
BRIDGE, RELAY = "10.2.2.2", "10.2.3.2"
TLS = {"tls", "tls-1.3", "tls-client-hello"}
QUIC = {"quic", "quic-v1", "quic-tspu"}
STUN = {"stun", "stun-strict"}
CHAT = {f"tcp {RELAY}:443": TLS}

PROGRAMS = {
    "turn {over = tls}": {f"tcp {BRIDGE}:443": TLS},
    "wireguard {implementation = wireguard-go}": {f"udp {BRIDGE}:443": {"wireguard"}},
    "obfs4": {f"tcp {BRIDGE}:443": {"fully-encrypted", "unknown"}},
    "tuic": {f"udp {BRIDGE}:443": QUIC},
    "shadowsocks_libev": {f"udp {BRIDGE}:443": {"rtp-timing", "unknown"}},
    "shadowtls": {f"tcp {BRIDGE}:443": {*TLS, "tls-in-tls"}},
    "trojan_tls": {f"tcp {BRIDGE}:443": {*TLS, "tls-in-tls"}},
    "anytls": {f"tcp {BRIDGE}:443": TLS},
    "stunnel": {f"tcp {BRIDGE}:443": TLS},
    "openvpn {over = tcp}": {f"tcp {BRIDGE}:443": {"openvpn", "unknown"}},
    "iodine": {f"udp {BRIDGE}:53": {"dns"}},
}
SLOW_PROGRAMS = {
    "turn": {f"udp {BRIDGE}:443": {*STUN, "turn-channel-data", "rtp-timing"}},
    "wireguard": {f"udp {BRIDGE}:443": {"wireguard"}},
    "tor": {f"tcp {BRIDGE}:443": {"fully-encrypted", "unknown"}},
    "meek_lite": {f"tcp {BRIDGE}:443": TLS},
    "hysteria2": {f"udp {BRIDGE}:443": QUIC},
    "shadowsocks2022": {f"udp {BRIDGE}:443": {"rtp-timing", "unknown"}},
    "vless_ws_tls": {f"tcp {BRIDGE}:443": {*TLS, "tls-in-tls"}},
    "openvpn": {f"udp {BRIDGE}:443": {"openvpn", "unknown"}},
    "turn {over = tcp}": {f"tcp {BRIDGE}:443": {"unknown", "stun", "turn-channel-data"}},
    "wireguard through turn": {f"udp {BRIDGE}:443": {*STUN, "turn-channel-data", "rtp-timing"}},
    "xray": {f"tcp {BRIDGE}:443": {*TLS, "tls-in-tls"}},
    "xray {network = xhttp}": {f"tcp {BRIDGE}:443": TLS},
    "xray {network = grpc}": {f"tcp {BRIDGE}:443": {*TLS, "tls-in-tls"}},
    "xray {network = mkcp}": {f"udp {BRIDGE}:443": {"unknown"}},
    "xray_wireguard": {f"udp {BRIDGE}:443": {"wireguard", "rtp-timing", "unknown"}},
    "xray_wireguard {finalmask = salamander}": {f"udp {BRIDGE}:443": {"rtp-timing", "unknown"}},
    "xray_wireguard {finalmask = header-srtp}": {f"udp {BRIDGE}:443": {"rtp", "rtp-timing"}},
}
"""Those whose conformance is tested each time, or that share their shape with one that is here.

By transport: what is stated of its flows, by protocol and server; a call's rhythm shows through
what has no shape of its own and sends a packet for each frame."""


def labels(pcap: Path, looking: Profile) -> dict[str, set[str]]:
    """Return the labels that all detectors together state of a capture's flows, by server."""
    censor = Censor(looking, Random(0))
    for at, packet in captures.packets(pcap):
        censor.on_packet(packet, at)
    found: dict[str, set[str]] = {}
    for event in censor.events:
        protocol, _, _, server = event.flow.split(" ")
        if event.what.startswith("recognised as "):
            label = event.what.removeprefix("recognised as ")
            found.setdefault(f"{protocol} {server}", set()).add(label)
    return found


def captured(kernel: Kernel, run: Run, messenger: str, transport: str) -> Path:
    """Conduct a short call, and give what the middlebox had from inside."""
    choice = transport_choice(transport)
    if lacks := missing(programs_of(load_transport(choice))):
        assert set(lacks) == {"xray"}
        pytest.skip("xray is not built")
    cell = replace(short_cell(messenger, "direct", "open", duration_s=3), transport=choice)
    ended: list[Done] = []
    trio.run(
        partial(run_cells, pcap="middlebox"), run, [cell], in_guest(kernel), CPUS, ended.append
    )
    [done] = ended
    assert done.result is not None, done.failure
    return done.result.folder / "middlebox-inside.pcap"


@pytest.mark.parametrize(
    ("transport", "stated"),
    [
        *PROGRAMS.items(),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW_PROGRAMS.items()),
    ],
)
def test_a_program_is_recognised_as_what_it_is_and_as_nothing_else(
    kernel: Kernel, run: Run, transport: str, stated: dict[str, set[str]]
) -> None:
    pcap = captured(kernel, run, "whatsapp", transport)
    assert labels(pcap, EVERYTHING) == stated | CHAT


@pytest.mark.slow
def test_snowflakes_client_and_proxy_are_known_by_their_dtls(kernel: Kernel, run: Run) -> None:
    """The proxy opens the flows that WebRTC (pion) tries, to ports that the client has drawn."""
    found = labels(captured(kernel, run, "whatsapp", "snowflake"), EVERYTHING)
    tried = [found.pop(name) for name in list(found) if name.startswith("udp 10.1.")]
    assert found == {f"tcp {BRIDGE}:443": TLS, f"udp {BRIDGE}:3478": STUN} | CHAT
    dtls = {"dtls", "dtls-client-hello", "snowflake-dtls-2022"}
    assert [labels for labels in tried if labels != STUN] == [STUN | dtls]


@pytest.mark.slow
def test_telegrams_engine_is_known_by_its_reflector(kernel: Kernel, run: Run) -> None:
    found = labels(captured(kernel, run, "telegram", "direct"), EVERYTHING)
    assert found.pop(f"udp {RELAY}:599") >= {"telegram-reflector"}
    assert found == CHAT


@pytest.mark.parametrize("transport", ["hysteria2", pytest.param("tuic", marks=pytest.mark.slow)])
def test_a_quic_clients_server_name_needs_reassembly(
    kernel: Kernel, run: Run, transport: str
) -> None:
    """quic-go's ClientHello is cut over several CRYPTO frames: boxes that join none miss it."""
    pcap = captured(kernel, run, "whatsapp", transport)
    joins = profile(*EVERYTHING.rules, inspection=joining("quic-frames", "quic-datagrams"))
    for looking, is_seen in ((EVERYTHING, False), (joins, True)):
        censor = Censor(looking, Random(0))
        for at, packet in captures.packets(pcap):
            censor.on_packet(packet, at)
        names = [e.what for e in censor.events if e.what.startswith("sni = www.bridge")]
        assert bool(names) is is_seen
