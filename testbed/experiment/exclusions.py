"""Check that what a scenario leaves out is there to be left out."""

from __future__ import annotations

from testbed.experiment.explanations import ScenarioError, there_are
from testbed.experiment.scenario import Scenario
from testbed.experiment.unfolding import axes_of, name_on


def check_exclusions(scenario: Scenario) -> None:
    """Check a scenario as it was written, before options narrow it.

    Raises:
        ScenarioError: An entry of `exclude` names what the scenario does not have.
    """
    axes = axes_of(scenario)
    for rule in scenario.exclude:
        for axis, name in rule.items():
            if name_on(axis, name) not in axes[axis]:
                raise ScenarioError(
                    f"{scenario.name}.toml: exclude: it has no {axis} {name!r}; "
                    f"{there_are(name, axes[axis])}"
                )
