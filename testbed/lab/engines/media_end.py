"""Model the media of one end of a call: what it sends, and when, and what it does with arrivals.

`model` moves the datagrams; this module has no sockets and no tasks. An end sends

- frames of speech, one per `frame_s`, each possibly with a delayed copy (redundancy);
- probes of the path's capacity, and transport-wide feedback, if its engine does (`beside`);
- receiver reports, on which the other end chooses its encoding (`report`);
- requests for missing packets, and the packets that the other end requests (NACK).

Reports are packets in the dialect's format, so they are lost and delayed like media. A receiver
report (RFC 3550, 6.4.2) carries the share of packets lost. Transport-wide feedback really carries
arrival times, and leaves the sender to compute the arrival rate and the queueing delay. Here it
carries these two results in 6 bytes, padded to the usual size. Sender reports are left out: they
take 54 bytes every 5 s.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from testbed.call import wire
from testbed.call.adaptation import Arrivals, PathRate, Receiver, Sender
from testbed.call.messenger import Messenger
from testbed.call.wire import unwrap_sequence
from testbed.lab.engines.ice_path import Leg
from testbed.record.observation import DirectionRecord

Timed = tuple[float, bytes]
"""The time at which a datagram leaves (s), and the datagram."""
_FEEDBACK = struct.Struct("!IH")
_FEEDBACK_BODY_BYTES = 20
"""With header, index and tag 42 bytes, the usual size in Chromium and ntgcalls (measured)."""
_REPORT = struct.Struct("!IB3sIIII")
"""A report block (RFC 3550, 6.4.1)."""
_NACK = struct.Struct("!IHH")
_NACK_BITS = 16
_NACK_EVERY_S = 0.1
"""The interval between requests for the same packet (s). libwebrtc waits for 5 ms and 1.5
round-trip times, and for 100 ms until it knows these (`rtp_rtcp_impl2.cc`,
TimeToSendFullNackList)."""
_NACK_UNTIL_S = 0.9
"""The age up to which a packet is requested (s): libwebrtc's kMaxNackDelay, less the round-trip
time that it assumes (`audio/nack_tracker.cc`)."""
_HISTORY = 250
"""The number of packets kept for retransmission: 5 s of 20 ms frames, as in libwebrtc
(kNackRtpHistoryMs)."""
_PADDING_TYPE = 103
"""The RTP payload type of probes, as in ntgcalls."""


class MediaEnd:
    """What one end of a call sends, hears, and reports to the other end."""

    def __init__(
        self,
        name: str,
        messenger: Messenger,
        said: Sequence[Sequence[bytes]],
        sends: DirectionRecord,
        hears: DirectionRecord,
    ) -> None:
        self.name = name
        self.number = 0 if name == "caller" else 1
        """The index of this end's leg in a path."""
        self.sends, self.hears = sends, hears
        self.heard_at = 0.0
        self.schedule: Sequence[float] = ()
        """When each frame leaves."""
        self._said = said
        self._frame_s = messenger.codec.frame_ms / 1000
        self._repair = messenger.repair
        self._probes = messenger.probes
        self._receiver = Receiver()
        self._arrivals = Arrivals()
        self._next_feedback_at = 0.0
        self._sent = 0
        self._controls = 0
        self._history: dict[int, bytes] = {}
        self._missing: dict[int, tuple[float, float]] = {}
        """When each missing sequence number was noticed, and when it was last requested."""
        self._sender: Sender | None = None
        self._path_rate: PathRate | None = None
        if (adaptation := messenger.adaptation) is not None:
            codec = messenger.codec
            loss = codec.expected_loss_percent
            encodings = adaptation.encodings(codec.bitrate_bps, loss, fec=codec.fec)
            self._sender = Sender(adaptation, encodings)
            self._path_rate = PathRate(adaptation) if adaptation.path_rate_bps else None

    def begin(self, first_at: float) -> None:
        """Set the times at which frames leave, from the first one on."""
        self.schedule = [first_at + k * self._frame_s for k in range(len(self._said[0]))]
        self._next_feedback_at = first_at

    def take(self, leg: Leg, datagram: bytes, at: float, dialled_at: float) -> Sequence[bytes]:
        """Note a datagram that arrived, and return the datagrams to send at once in reply."""
        numbers = leg.dialect.numbers(datagram)
        if numbers is None:
            return self._obey(leg, datagram, at)
        sequence, index = numbers
        self.heard_at = at
        self.hears.received.append((index, at - dialled_at))
        if self._sender is None and not self._repair.nack:
            return ()
        before = self._receiver.highest
        sequence = unwrap_sequence(sequence, max(before, 0))
        self._receiver.take(sequence)
        if self._path_rate is not None:
            self._arrivals.take(at, len(datagram), at - index * self._frame_s)
        return self._ask(leg, before, sequence, at) if self._repair.nack else ()

    def packets(self, leg: Leg, index: int) -> list[Timed]:
        """Return a frame's packets: none if discontinuous transmission (DTX) skips the frame."""
        variant = 0
        if self._sender is not None:
            variant = self._sender.variant
            self.sends.variants.append(variant)
        frame, at = self._said[variant][index], self.schedule[index]
        if not frame:
            return []
        datagram = leg.dialect.media(index, frame, self._sent)
        if self._repair.nack:
            self._history[self._sent] = datagram
            self._history.pop(self._sent - _HISTORY, None)
        self._sent += 1
        after_s = self._repair.copy_after_ms / 1000
        return [(at + n * after_s, datagram) for n in range(self._repair.copies)]

    def beside(self, leg: Leg, from_at: float, until: float) -> list[Timed]:
        """Return the packets other than media of an interval: feedback and probes."""
        began_at = self.schedule[0]
        found: list[Timed] = []
        for probes in self._probes:
            for k in range(probes.packets):
                at = began_at + probes.at_s + k * probes.over_s / max(probes.packets - 1, 1)
                if from_at <= at < until:
                    packet = wire.padding(k, probes.packet_bytes, payload_type=_PADDING_TYPE)
                    found.append((at, leg.dialect.beside(packet)))
        if self._path_rate is not None and self._receiver.highest >= 0:
            rate_bps, queue_s = self._arrivals.feedback(from_at)
            body = _FEEDBACK.pack(rate_bps, min(round(1000 * queue_s), 0xFFFF))
            body += bytes(_FEEDBACK_BODY_BYTES - len(body))
            at = max(self._next_feedback_at, from_at)
            while at < until:
                found.append((at, self._control(leg, wire.TRANSPORT_FEEDBACK, body)))
                at += self._path_rate.interval_s(at)
            self._next_feedback_at = at
        return found

    def report(self, leg: Leg) -> bytes | None:
        """Return a receiver report, or None if there is nothing to report."""
        lost = self._receiver.report()
        if lost is None:
            return None
        block = _REPORT.pack(0, lost, bytes(3), self._receiver.highest & 0xFFFFFFFF, 0, 0, 0)
        return self._control(leg, wire.RECEIVER_REPORT, block)

    def _control(self, leg: Leg, kind: tuple[int, int], body: bytes) -> bytes:
        self._controls += 1
        return leg.dialect.beside(wire.rtcp(kind, self._controls, body))

    def _obey(self, leg: Leg, datagram: bytes, at: float) -> Sequence[bytes]:
        """Process the other end's report or request, and return the packets that it requests."""
        dialect = leg.dialect
        if self._repair.nack and (body := dialect.rtcp(datagram, wire.GENERIC_NACK)) is not None:
            # RFC 4585, 6.2.1: a first packet, and a bit for each of the 16 that follow it.
            _, first, bits = _NACK.unpack(body)
            near = unwrap_sequence(first, self._sent)
            asked = [near, *(near + n + 1 for n in range(_NACK_BITS) if bits >> n & 1)]
            return [self._history[number] for number in asked if number in self._history]
        if self._sender is None:
            return ()
        if (body := dialect.rtcp(datagram, wire.RECEIVER_REPORT)) is not None:
            self._sender.on_report(_REPORT.unpack(body)[1] / 256, at)
        elif self._path_rate is not None:
            body = dialect.rtcp(datagram, wire.TRANSPORT_FEEDBACK)
            if body is not None:
                rate_bps, queue_ms = _FEEDBACK.unpack_from(body)
                self._path_rate.on_feedback(rate_bps, queue_ms / 1000, at)
        return ()

    def _ask(self, leg: Leg, before: int, sequence: int, at: float) -> Sequence[bytes]:
        """Request missing packets once a later one has arrived, and again every 100 ms."""
        self._missing.pop(sequence, None)
        for number in range(before + 1, sequence) if before >= 0 else ():
            self._missing[number] = (at, -math.inf)
        due = [
            number
            for number, (since, asked_at) in self._missing.items()
            if at - since < _NACK_UNTIL_S and at - asked_at >= _NACK_EVERY_S
        ]
        requests = []
        for number in due:
            self._missing[number] = (self._missing[number][0], at)
        while due:
            first = due[0]
            together = [number for number in due if number - first <= _NACK_BITS]
            bits = sum(1 << number - first - 1 for number in together[1:])
            body = _NACK.pack(0, first & 0xFFFF, bits)
            requests.append(self._control(leg, wire.GENERIC_NACK, body))
            due = due[len(together) :]
        return requests
