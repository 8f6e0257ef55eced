"""Profiles of China's blocking by names in QUIC: when, after how long, and from which side."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.censor.censor import Censor
from testbed.experiment import scenario
from tests.censor import vectors
from tests.censor.packets import udp
from tests.censor.treatment import (
    applying_to_all,
    censor_of,
    loaded,
    of_udp,
    quic,
    treatment,
    untouched,
)


def test_a_blocked_quic_name_blocks_the_clients_udp_to_that_port_for_three_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The RFC's Initial names example.com, so that name is put on the list."""
    block_example_com(tmp_path, monkeypatch)
    censor = applying_to_all("cn")
    assert treatment("", quic(), censor=censor).up > 0
    assert not treatment("", quic(), censor=censor, begin=8.0).up
    other = of_udp([(True, b"x")], port=443, client_port=41000)
    assert not treatment("", other, censor=censor, begin=100.0).up
    assert treatment("", of_udp([(True, b"x")], port=444), censor=censor, begin=100.0).up
    assert treatment("", other, censor=censor, begin=181.0).up
    later = [udp(b"random first", port=443), *quic()]
    assert untouched(treatment("", later, censor=applying_to_all("cn")))
    second = [udp(vectors.quic("rfc9369-a2"), port=443)] * 20
    assert untouched(treatment("", second, censor=applying_to_all("cn")))


def block_example_com(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the profiles `cn` and `cn-later`, as those of 2024 and 2025, which block that name."""
    for name, stem in (("cn-quic-sni-2024", "cn"), ("cn-quic-sni-2025", "cn-later")):
        text = (scenario.CENSORS / f"{name}.toml").read_text()
        text = text.replace('"blocked.example"', '"example.com"')
        (tmp_path / f"{stem}.toml").write_text(text.replace('"cn-quic-sni-2024"', '"cn"'))
    monkeypatch.setattr(scenario, "CENSORS", tmp_path)
    loaded.cache_clear()


def blocked_quic(censor: Censor, after_s: float, flows: int, *, up: bool = True) -> int:
    """Count of QUIC flows to as many ports those whose next packet is dropped."""
    count = 0
    for number in range(flows):
        now, ends = number * 1e-5, _ends(number, up=up)
        assert censor.on_packet(udp(vectors.quic("rfc9001-a2"), up=up, **ends), now)
    for number in range(flows):
        now, ends = number * 1e-5 + after_s, _ends(number, up=up)
        count += not censor.on_packet(udp(b"\x5a", up=up, **ends), now)
    return count


def _ends(number: int, *, up: bool) -> dict[str, int]:
    """Return ports of which the one of who opens the flow is the higher one."""
    ports = (1 + number, 40000) if up else (40000, 1 + number)
    return dict(zip(("port", "client_port"), ports, strict=True))


def test_quic_is_blocked_by_the_hour_and_after_a_delay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """72 % at 5 h and 5 % in the evening; after 110 ms in the median, and 7.5 s at most."""
    block_example_com(tmp_path, monkeypatch)
    assert 185 < blocked_quic(censor_of("cn", local_time="05:00"), 10.0, 300) < 245
    assert 3 < blocked_quic(censor_of("cn", local_time="20:30"), 10.0, 300) < 30
    assert blocked_quic(applying_to_all("cn"), 7.6, 100) == 100
    assert 70 < blocked_quic(applying_to_all("cn"), 0.11, 200) < 130
    assert 175 < blocked_quic(applying_to_all("cn"), 0.589, 200) < 200


def test_since_march_2025_only_quic_from_inside_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block_example_com(tmp_path, monkeypatch)
    for name, from_outside in (("cn", 9), ("cn-later", 0)):
        for up, blocked in ((True, 9), (False, from_outside)):
            assert blocked_quic(applying_to_all(name), 10.0, 9, up=up) == blocked
