"""Makes the same kind of call under a fitted profile, to compare it with the capture.

The call is a model of the messenger that the detectors recognised, and lasts as long as the capture
(within limits). Its lines have the path's least round trip, if captures of both ends show it, and
the control's loss. It cannot be the same call: what people said, and the hour, are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import trio

from testbed.censor.profile import Profile
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.link import Link, Links
from testbed.experiment.scenario import load_messenger
from testbed.experiment.unfolding import cell_id
from testbed.record.results import Run
from testbed.run.runner import Conduct, ConductError, Done, run_cells
from testbed.tools.fitting.capture_reading import read_capture
from testbed.tools.fitting.controls import line_loss
from testbed.tools.fitting.examination import Examination, examine
from testbed.tools.fitting.passages import Passage

_SHORTEST_S, _LONGEST_S = 10.0, 120.0
_MESSENGERS = (
    ("whatsapp-like", "whatsapp"),
    ("telegram-reflector", "telegram-model"),
    ("turn-channel-data", "webrtc-model"),
)
_OTHER_MESSENGER = "whatsapp"
_DELAY_S = 0.05
"""The one-way delay where one capture does not show it."""
_SEED = 1


def similar_call(examined: Examination, control: Examination | None, profile: Profile) -> Cell:
    """Return the call that is like the capture's."""
    labels = {label for flow in examined.near.flows for label in flow.labels}
    messenger = next((name for label, name in _MESSENGERS if label in labels), _OTHER_MESSENGER)
    length_s = min(max(examined.near.length_s, _SHORTEST_S), _LONGEST_S)
    named = replace(profile, name="fitted")
    lines = _lines(control or examined, control)
    direct = TransportChoice("direct")
    return Cell(load_messenger(messenger), direct, named, lines, _SEED, length_s)


def _lines(examined: Examination, control: Examination | None) -> Links:
    delay_s = _DELAY_S
    if examined.pairing is not None:
        least = [
            float(np.min((p.arrived_s - p.sent_s)[p.counted & ~p.lost]))
            for p in examined.passages
            if (p.counted & ~p.lost).any()
        ]
        delay_s = max(min(least, default=_DELAY_S), 0.002)
    losses = [line_loss(control, way) for way in ("up", "down")] if control else []
    known = [each.value for each in losses if each is not None]
    loss = min(max(known, default=0.0), 0.5)
    half = Link(delay_ms=delay_s * 500, loss=loss / 2)
    return Links("as the capture's path", access=half, callee_access=half, name="fitted")


def made(cell: Cell, folder: Path, conduct: Conduct, cpu: int, *, both_ends: bool) -> Examination:
    """Make the call in a guest, and examine its captures.

    Raises:
        ConductError: The call could not be conducted.
    """
    run = Run(folder)
    for name in ("cells", "failed"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ended: list[Done] = []

    async def one() -> None:
        await run_cells(run, [cell], conduct, [cpu], ended.append, pcap="ends")

    trio.run(one)
    if ended and ended[0].result is None:
        raise ConductError(ended[0].failure)
    captures = folder / "cells" / cell_id(cell)
    near, far = (captures / f"{end}-end.pcap" for end in ("caller", "callee"))
    return examine(read_capture(near), read_capture(far) if both_ends else None)


def pairs(captured: Examination, modelled: Examination) -> Sequence[tuple[str, Passage, Passage]]:
    """Return the largest passages of both, by direction, for a figure."""
    found = []
    for way in ("up", "down"):
        largest = [
            max(
                (each for each in examined.passages if each.direction.value == way),
                key=lambda each: int(each.counted.sum()),
                default=None,
            )
            for examined in (captured, modelled)
        ]
        if largest[0] is not None and largest[1] is not None:
            found.append((way, largest[0], largest[1]))
    return found
