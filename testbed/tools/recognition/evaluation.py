"""Evaluates the call detectors on flows that were labelled by others.

The flows are JSON lines: capture, flow, label, protocol, ports [client, server], and packets
[[seconds, direction (0: as the first), payload bytes, first bytes in hex]]. Each capture is written
as a pcap file with invented addresses, in which packets are truncated where their bytes are not
known, and is then read by the same code as in `recognise`.

A flow's label alone decides to which group it belongs. The groups were fixed after the captures had
been read and before the detectors ran on them, except that the headers specific to Zoom were learnt
from a first run. So the flows that come with the project are weaker evidence than others would be.

- *call media*: UDP, at least 20 packets, and a label in which nDPI names a call: a part that ends
  in "Call", "Voip" or "VoIP", or is "RTP" or "SRTP"; also the captures of the lab's own calls.
- *calling app*: UDP, at least 20 packets, and the label of a calling app for which nDPI does not
  distinguish media from other flows. Counted separately, since it is unknown which carry media.
- *STUN only*: flows of both kinds in which each datagram is STUN. Counted separately.
- *short*: flows of both kinds with fewer packets. Counted separately.
- *hidden call*: a call of the lab in an encrypted tunnel without traffic shaping (Shadowsocks).
  Counted separately: to find it is neither right nor wrong.
- *other*: all other UDP flows, with any number of packets. A detection there is a false alarm.

`whatsapp-like` should detect all flows of WhatsApp's calls, and no other flow.

The parameters are cross-validated by leaving out one capture at a time: for each capture, the two
parameters of `rtp-timing` are those of a grid that do best on all other captures, and likewise the
one of `whatsapp-like`.
"""

from __future__ import annotations

import gzip
import json
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import cypcap
from rich.table import Table

from testbed.analysis.statistics import share
from testbed.censor.detectors.rtp import RtpTiming
from testbed.censor.detectors.stun import MAGIC_COOKIE
from testbed.censor.detectors.whatsapp import WhatsAppLike
from testbed.censor.facts import Detector
from testbed.censor.packet import Direction, Endpoint, Packet, parse_packet
from testbed.tools.calibration.packets import TcpNumbers, packet
from testbed.tools.recognition.capture_file import Capture, CaptureError
from testbed.tools.recognition.replay import Replay, SeenFlow

LEAST_PACKETS = 20
_CALL = re.compile(r"(Call|Voip|VoIP)$|^S?RTP$")
_CALLING_APPS = frozenset(
    {"Discord", "Zoom", "IMO", "Viber", "TeamSpeak", "Mumble", "Line", "KakaoTalk", "Webex"}
    | {"Skype", "Teams", "GoogleMeet", "FaceTime", "Jitsi", "WeChat", "Threema", "Signal"}
)
_LAB, _HIDDEN = "lab", "hidden-call"
"""Parts of the labels of the lab's own captures."""
_GRID = tuple(product((5, 8, 10, 15, 20), (1.0, 2.0, 5.0, 10.0)))
_GRID_WHATSAPP = (1, 2, 3, 4)
_SNAP_BYTES = 1 << 16
_RAW_IP = 12


@dataclass(frozen=True)
class LabelledFlow:
    """A flow of a capture, with the label that the capture's authors gave it."""

    capture: str
    flow: int
    label: str
    protocol: str
    ports: tuple[int, int]
    """The ports of the client and of the server."""
    packets: Sequence[tuple[float, int, int, bytes]]
    """Time (s), direction (0: as the first packet), size of the payload, its first bytes."""

    @property
    def parts(self) -> set[str]:
        """Return the parts of the label, such as `STUN` and `WhatsAppCall`."""
        return set(self.label.split("."))

    @property
    def group(self) -> str:
        """Return its group for `rtp-timing` (defined in the module's docstring)."""
        if self.protocol != "udp":
            return "TCP"
        is_call = any(_CALL.search(part) for part in self.parts)
        if _HIDDEN in self.parts:
            return "hidden call"
        if not is_call and not self.parts & _CALLING_APPS:
            return "other"
        if len(self.packets) < LEAST_PACKETS:
            return "short"
        if all(head[4:8] == MAGIC_COOKIE for _, _, _, head in self.packets):
            return "STUN only"
        return "call media" if is_call else "calling app"

    @property
    def is_whatsapp(self) -> bool:
        """Return whether it belongs to a WhatsApp call, whether it carries media or not."""
        return self.protocol == "udp" and "WhatsAppCall" in self.parts


class Outcome(NamedTuple):
    """A flow, and the labels that detectors stated about it."""

    flow: LabelledFlow
    stated: frozenset[str]


@dataclass(frozen=True)
class Share:
    """How many of a number of flows were found, with the 95 % Wilson interval."""

    found: int
    of: int
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """How often the call detectors are right on labelled flows."""

    matrix: Mapping[str, Mapping[str, int]]
    """By label of the flows: how many there are, and how many received each detector's label."""
    shares: Mapping[str, Share]
    """By name of a share, such as `rtp-timing: call media`."""
    left_out: Mapping[str, Share]
    """The same shares, with parameters chosen on the other captures (cross-validation)."""
    errors: Sequence[str]
    """Descriptions of missed flows and false alarms."""


def read_flows(path: Path) -> list[LabelledFlow]:
    """Return the labelled flows of a JSON lines file, gzipped or not.

    Raises:
        CaptureError: There is no such file, or it does not contain labelled flows.
    """
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        return [_flow(json.loads(line)) for line in text.splitlines() if line.strip()]
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, IndexError) as error:
        raise CaptureError(f"{path} does not hold labelled flows: {error}") from None


def _flow(row: Any) -> LabelledFlow:  # noqa: ANN401 - JSON of any kind; the caller reports errors
    packets = [
        (float(at), int(way), int(size), bytes.fromhex(head)[: int(size)])
        for at, way, size, head in row["packets"]
    ]
    if row["protocol"] not in ("udp", "tcp") or not packets:
        raise ValueError(f"flow {row['flow']} has no packets of UDP or TCP")
    ports = (int(row["ports"][0]), int(row["ports"][1]))
    label, capture = str(row["label"]), str(row["capture"])
    return LabelledFlow(capture, int(row["flow"]), label, row["protocol"], ports, packets)


def write_pcap(flows: Sequence[LabelledFlow], path: Path) -> None:
    """Write flows as one capture with invented addresses, truncated where bytes are not known.

    Each flow has a client of its own in 10.0.0.0/8 and a server in 198.18.0.0/15 (RFC 2544).
    """
    made = (frame for number, flow in enumerate(flows) for frame in _frames(number, flow))
    with cypcap.open_dead(_RAW_IP, _SNAP_BYTES) as dead, dead.dump_open(str(path)) as dumper:
        for at, data, length in sorted(made, key=lambda frame: frame[0]):
            dumper.dump(cypcap.Pkthdr(at, len(data), length), data)


def _frames(number: int, flow: LabelledFlow) -> Iterator[tuple[float, bytes, int]]:
    """Yield the time (s), the known bytes and the full length of each of a flow's packets."""
    client = Endpoint(
        bytes([10, number >> 16 & 255, number >> 8 & 255, number & 255]), flow.ports[0]
    )
    server = Endpoint(bytes([198, 18, number >> 8 & 255, number & 255]), flow.ports[1])
    sequences = [1, 1]
    for at, way, size, head in flow.packets:
        ends = (server, client) if way else (client, server)
        payload = head.ljust(size, b"\0")
        data = packet(
            flow.protocol, *ends, payload, 1, TcpNumbers(sequences[way], sequences[1 - way])
        )
        sequences[way] = (sequences[way] + size) % (1 << 32)
        yield at, data[: len(data) - size + len(head)], len(data)


def evaluate(path: Path) -> Evaluation:
    """Evaluate the detectors on a file of labelled flows.

    Raises:
        CaptureError: The file does not contain labelled flows.
    """
    flows = read_flows(path)
    outcomes = [outcome for capture in _captures(flows).values() for outcome in _outcomes(capture)]
    left_out = _left_out([flow for flow in flows if flow.protocol == "udp"])
    return Evaluation(_matrix(outcomes), _shares(outcomes), _shares(left_out), _errors(outcomes))


def _captures(flows: Sequence[LabelledFlow]) -> Mapping[str, list[LabelledFlow]]:
    captures: dict[str, list[LabelledFlow]] = {}
    for flow in flows:
        captures.setdefault(flow.capture, []).append(flow)
    return captures


def _outcomes(flows: Sequence[LabelledFlow]) -> list[Outcome]:
    """Write a capture, read it as `recognise` does, and return the labels stated for each flow."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flows.pcap"
        write_pcap(flows, path)
        replay = Replay()
        with Capture(path) as capture:
            for captured in capture:
                replay.show(captured)
    by_client: dict[Endpoint, SeenFlow] = {flow.client: flow for flow in replay.flows}
    clients = [next(_frames(number, flow))[1] for number, flow in enumerate(flows)]
    return [
        Outcome(flow, frozenset(by_client[parse_packet(first, Direction.UP).source].labels))
        for flow, first in zip(flows, clients, strict=True)
    ]


Make = Callable[[], Detector]


def _left_out(flows: Sequence[LabelledFlow]) -> list[Outcome]:
    """Return the outcomes of each capture with the parameters that do best on all others."""
    timing = _found_with([partial(RtpTiming, *numbers) for numbers in _GRID], flows)
    own = _found_with([partial(WhatsAppLike, needed) for needed in _GRID_WHATSAPP], flows)
    outcomes = []
    for name in _captures(flows):
        others = [number for number, flow in enumerate(flows) if flow.capture != name]
        judged = [number for number in others if flows[number].group in ("call media", "other")]
        is_call = {number: flows[number].group == "call media" for number in judged}
        is_whatsapp = {number: flows[number].is_whatsapp for number in others}
        stated = {
            "rtp-timing": _best(timing, is_call),
            "whatsapp-like": _best(own, is_whatsapp),
        }
        outcomes += [
            Outcome(flow, frozenset(label for label, found in stated.items() if found[number]))
            for number, flow in enumerate(flows)
            if flow.capture == name
        ]
    return outcomes


def _found_with(makes: Sequence[Make], flows: Sequence[LabelledFlow]) -> list[list[bool]]:
    return [[_finds(make, flow) for flow in flows] for make in makes]


def _best(found: Sequence[list[bool]], expected: Mapping[int, bool]) -> list[bool]:
    """Return the findings of the parameters with fewest errors; among equals, the middle ones."""
    errors = [sum(row[number] is not yes for number, yes in expected.items()) for row in found]
    best = [row for row, count in zip(found, errors, strict=True) if count == min(errors)]
    return best[len(best) // 2]


def _finds(make: Make, flow: LabelledFlow) -> bool:
    detector = make()
    ends = Endpoint(b"", flow.ports[0]), Endpoint(b"", flow.ports[1])
    for at, way, size, head in flow.packets:
        direction = Direction.DOWN if way else Direction.UP
        payload = head.ljust(size, b"\0")
        facts = detector.feed(Packet(b"", direction, "udp", *ends, payload), at) if size else None
        if facts is not None:
            return bool(facts)
    return False


def _matrix(outcomes: Sequence[Outcome]) -> Mapping[str, Mapping[str, int]]:
    matrix: dict[str, dict[str, int]] = {}
    for flow, stated in sorted(outcomes, key=lambda outcome: outcome.flow.label):
        row = matrix.setdefault(f"{flow.protocol} {flow.label}", {"flows": 0})
        row["flows"] += 1
        for label in sorted(stated):
            row[label] = row.get(label, 0) + 1
    return matrix


_GROUPS = ("call media", "calling app", "STUN only", "short", "hidden call", "other")


def _shares(outcomes: Sequence[Outcome]) -> Mapping[str, Share]:
    udp = [outcome for outcome in outcomes if outcome.flow.protocol == "udp"]
    shares = {
        f"rtp-timing: {group}": _share("rtp-timing", [o for o in udp if o.flow.group == group])
        for group in _GROUPS
    }
    whatsapp = [outcome for outcome in udp if outcome.flow.is_whatsapp]
    media = [o for o in whatsapp if o.flow.group == "call media"]
    shares["whatsapp-like: WhatsApp's call media"] = _share("whatsapp-like", media)
    rest = [o for o in whatsapp if o.flow.group != "call media"]
    shares["whatsapp-like: WhatsApp's checks by STUN"] = _share("whatsapp-like", rest)
    others = [o for o in udp if not o.flow.is_whatsapp]
    shares["whatsapp-like: other"] = _share("whatsapp-like", others)
    return shares


def _share(label: str, outcomes: Sequence[Outcome]) -> Share:
    found = sum(label in stated for _, stated in outcomes)
    if not outcomes:
        return Share(0, 0, 0.0, 1.0)
    estimate = share(found, len(outcomes))
    return Share(found, len(outcomes), estimate.low, estimate.high)


def _errors(outcomes: Sequence[Outcome]) -> list[str]:
    errors = []
    for flow, stated in outcomes:
        if flow.protocol != "udp":
            continue
        what = f"{flow.capture}, flow {flow.flow}, {flow.label}, {len(flow.packets)} packets"
        for label, expected, counts in (
            ("rtp-timing", flow.group in ("call media", "calling app"), flow.group in _JUDGED),
            ("whatsapp-like", flow.is_whatsapp, True),
        ):
            if counts and (label in stated) is not expected:
                errors.append(f"{label} {'missed' if expected else 'false alarm'}: {what}")
    return errors


_JUDGED = ("call media", "calling app", "other")


def shares_table(evaluation: Evaluation) -> Table:
    """Return a table of how often the detectors are right, at most 100 columns wide."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Detector: flows", "recognised", "95 % interval", "cross-validated"):
        table.add_column(column, justify="left" if column.startswith("D") else "right")
    for name, stated in evaluation.shares.items():
        interval = f"{stated.low:.1%} to {stated.high:.1%}" if stated.of else "-"
        found = evaluation.left_out[name].found
        table.add_row(name, f"{stated.found} of {stated.of}", interval, f"{found} of {stated.of}")
    return table


def labels_text(evaluation: Evaluation) -> str:
    """Return as text what was stated about the flows of each label, and then each error."""
    lines = ["By the labels of the flows:"]
    for label, row in evaluation.matrix.items():
        counts = ", ".join(f"{name} {count}" for name, count in row.items() if name != "flows")
        lines.append(f"  {label} ({row['flows']}): {counts or '-'}")
    lines += ["", f"{len(evaluation.errors)} errors:"]
    return "\n".join([*lines, *(f"  {error}" for error in evaluation.errors)])
