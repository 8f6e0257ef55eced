"""Check before a run what its guests would find out: speech, and what profiles name in the lab."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.audio.speech import voice
from testbed.censor.stack import running
from testbed.experiment.cell import Cell
from testbed.experiment.explanations import ScenarioError
from testbed.lab.net.addresses import address_lists

_RELAY = "192.0.2.1"
"""An address for the relay whose network is not built yet (RFC 5737)."""


def check_plan(plan: Sequence[Cell]) -> None:
    """Check that the cells of a plan can be prepared.

    Raises:
        ScenarioError: A profile names an address list that the lab does not have.
        SpeechError: The speech cannot be used.
    """
    for file in dict.fromkeys(cell.speech for cell in plan):
        voice(file)
    for cell in {cell.censor.name: cell for cell in plan}.values():
        try:
            running(cell.censor, 0, address_lists(_RELAY), cell.local_time)
        except ValueError as error:
            raise ScenarioError(f"censor {cell.censor.name}: {error}") from None
