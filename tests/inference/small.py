"""A small family whose calls are known exactly, so that inferences can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from testbed.experiment.hypotheses import Family, load_family
from testbed.experiment.reports import Observed, Setting
from testbed.inference.draws import Cube, Floats
from testbed.inference.features import Features
from testbed.inference.report_likelihoods import Emulated, Model, Statement

FAMILY = """
title = "A small family"
reviewed = "2026-11-30"
alike = [{alike}]
alike_reason = "as a test needs it"

[parameters.stun]
title = "calls are recognised by STUN"
choices = {{ yes = 0.5, no = 0.5 }}
reason = "a test"

[parameters.drop]
title = "packets dropped"
between = [0, 1]
reason = "a test"

[parameters.depth]
title = "packets that are inspected"
choices = {{ any = 0.5, "4" = 0.5 }}
reason = "a test: nothing depends on it"

[[rules]]
name = "stun"
when = {{ stun = "yes" }}
match = {{ protocol = "udp", label = "stun" }}
action = {{ kind = "drop", probability = "$drop" }}
reason = "a test"

[inspection]
packets = "$depth"

[messengers]
whatsapp = {{ file = "whatsapp" }}

[misreports.user]
between = [0.0, {wrong}]
reason = "a test"
"""
BROKEN = Observed(verdicts=("no call", "unusable", "poor"))
WORKS = Observed(verdicts=("usable", "good"))
SETTING = Setting("whatsapp")


def family(folder: Path, *, alike: str = "0.3, 0.9", wrong: float = 0.2) -> Family:
    """Return the family; read from a file, as people write it."""
    path = folder / "small.toml"
    path.write_text(FAMILY.format(alike=alike, wrong=wrong))
    return load_family(str(path))


def broken_above(limit: float) -> Callable[[Floats], Floats]:
    """Return the share of broken calls: few below a limit of the drop probability, many above.

    The inputs are whether the rule is there, its number, and the depth.
    """

    def share(inputs: Floats) -> Floats:
        found: Floats = 0.02 + 0.96 / (1 + np.exp(-40 * (inputs[:, 1] - limit)))
        return found

    return share


def model(made_by: Family, limits: Mapping[str, Sequence[float]]) -> Model:
    """Return a model with reports of broken calls by box, one for each limit of strength.

    Each limit stands for a setting of its own, in which calls break above that limit.
    """
    features = Features(made_by, "whatsapp", ("stun",))
    settings: dict[Setting, Emulated] = {}
    stated: list[Statement] = []
    for box, of_box in limits.items():
        for limit in of_box:
            setting = Setting("whatsapp", f"limit {limit}")
            settings[setting] = Emulated(features, {BROKEN: broken_above(limit)})
            name = f"{box}, broken above {limit}"
            stated.append(
                Statement(name, box, setting, BROKEN, "one", "user", f"thread {len(stated)}")
            )
    return Model(Cube(made_by, list(limits)), tuple(stated), settings)
