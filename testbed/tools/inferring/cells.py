"""Make the cells of an inference: one call of a setting under one censor of a family."""

from __future__ import annotations

from functools import cache

from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.choosing import transport_choice
from testbed.experiment.hypotheses import Family, messenger, profile
from testbed.experiment.link import Links
from testbed.experiment.reports import Setting
from testbed.experiment.scenario import load_links
from testbed.inference.draws import Floats, values_of

DURATION_S = 20.0
"""The length of each call: long enough for every symptom, and half as dear as one of 40 s."""
LINKS = "home-fibre"


def cell_at(family: Family, setting: Setting, point: Floats, seed: int) -> Cell:
    """Return the call of a setting under the censor at a point of the family's cube."""
    values = values_of(family, point)
    return Cell(
        messenger(family, setting.messenger, values),
        _transport(setting.transport),
        profile(family, values, "hypothesis"),
        _links(),
        seed,
        DURATION_S,
        topology=setting.topology,
    )


@cache
def _transport(name: str) -> TransportChoice:
    return transport_choice(name)


@cache
def _links() -> Links:
    return load_links(LINKS)
