"""What people bring carries calls in guests: both ends of each protocol fit together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.loading import programs_of
from testbed.guest.kernel.builder import Kernel
from testbed.guest.programs import missing
from testbed.record.results import Run
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted

pytestmark = [pytest.mark.guest, pytest.mark.slow]
VLESS = "vless://a3482e88-686a-4a58-8126-99c9df64b7bf@vpn.example:443"
BROUGHT = [
    "ss://aes-256-gcm:p@vpn.example:8388",
    "ss://2022-blake3-aes-256-gcm:p@vpn.example:8388",
    "trojan://p@vpn.example:443?sni=a.example",
    "hysteria2://p@vpn.example:443?obfs=salamander&obfs-password=x",
    "tuic://u:p@vpn.example:443?congestion_control=bbr",
    f"{VLESS}?type=ws&security=tls&path=%2Fx&host=a.example",
    f"{VLESS}?type=tcp&security=tls&flow=xtls-rprx-vision",
    f"{VLESS}?type=httpupgrade&security=tls&path=%2Fx",
    f"{VLESS}?type=http&security=tls&path=%2Fx&host=a.example",
    f"{VLESS}?type=tcp&security=reality&pbk=k&sni=a.example&flow=xtls-rprx-vision&fp=firefox",
    f"{VLESS}?type=xhttp&security=tls&path=%2Fx&mode=stream-one",
    f"{VLESS}?type=kcp",
    'singbox {client = {type = "anytls", tls = {enabled = true}}}',
    'singbox {client = {type = "vless", multiplex = {enabled = true, padding = true}}}',
    "hysteria2://p@vpn.example:443 through xray",
]


@pytest.mark.parametrize("link", BROUGHT)
def test_a_call_through_what_somebody_brings(kernel: Kernel, run: Run, link: str) -> None:
    choice = transport_choice(link)
    if lacks := missing(programs_of(load_transport(choice))):
        pytest.skip(f"missing: {', '.join(lacks.values())}")
    cell = replace(short_cell("whatsapp", "direct", "open", duration_s=3), transport=choice)
    [result] = conducted(kernel, run, cell)
    assert result.record.verdict.label in ("good", "usable"), result.record.observation.call.reason
