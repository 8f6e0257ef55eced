"""Nothing is claimed of public captures of calls that nobody is known to have disturbed."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from itertools import groupby
from pathlib import Path

import pytest

from testbed.tools.fitting.capture_reading import read_capture
from testbed.tools.fitting.examination import Examination, examine
from testbed.tools.fitting.fit_tables import headline
from testbed.tools.fitting.profile_file import counts
from testbed.tools.recognition.evaluation import LabelledFlow, read_flows, write_pcap

FLOWS = Path(__file__).parents[1] / "data" / "captures" / "calls.jsonl.gz"
CLIENTS = [ip_network("10.0.0.0/8")]
"""Where `write_pcap` puts the ends that sent first."""


def captures() -> Mapping[str, list[LabelledFlow]]:
    flows = sorted(read_flows(FLOWS), key=lambda flow: flow.capture)
    return {name: list(own) for name, own in groupby(flows, key=lambda flow: flow.capture)}


def fitted(flows: list[LabelledFlow], folder: Path) -> Examination:
    path = folder / "capture.pcap"
    write_pcap(flows, path)
    return examine(read_capture(path, CLIENTS))


@pytest.mark.parametrize("name", captures())
def test_no_restriction_is_found_in_a_public_capture(name: str, tmp_path: Path) -> None:
    flows = captures()[name]
    seen = fitted(flows, tmp_path)
    assert not [finding for finding in seen.findings if counts(finding)]
    assert headline(seen, seen.findings).startswith("Nothing was found")


@pytest.mark.parametrize("name", captures())
def test_a_flow_is_said_to_be_silent_only_if_nothing_came_back(name: str, tmp_path: Path) -> None:
    flows = captures()[name]
    by_port = {
        (flow.protocol, *flow.ports): {way for _, way, _, _ in flow.packets} for flow in flows
    }
    seen = fitted(flows, tmp_path)
    records = {flow.seen.number: flow for flow in seen.near.flows}
    for finding in seen.findings:
        assert finding.kind == "silence"
        flow = records[finding.flow]
        ways = by_port[flow.seen.protocol, flow.local.port, flow.remote.port]
        assert ways == {0}
