"""Plans all experiments for a profile from its data alone.

Every rule that a flow can reach is tried with matching and almost matching flows, and every number
of the profile that has evidence is measured. A number without a finding is reported as a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from testbed.censor.action import action_numbers, number_types
from testbed.censor.profile import Profile, Rule
from testbed.tools.calibration.composition import Observation, Script
from testbed.tools.calibration.crowds import probe_crowd
from testbed.tools.calibration.delays import probe_delay
from testbed.tools.calibration.findings import Finding, Measurement
from testbed.tools.calibration.inspection import probe_depth, probe_inspection
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference
from testbed.tools.calibration.series import probe_action
from testbed.tools.calibration.shares import probe_shares
from testbed.tools.calibration.times import probe_times
from testbed.tools.calibration.vectors import probe_vectors


def plan(profile: Profile, lists: Mapping[str, Sequence[str]]) -> list[Probe]:
    """Return the experiments that measure every number of a profile and try every rule.

    Raises:
        ValueError: A rule names a list of addresses that is not in `lists`, or has a number that
            would need more packets than an experiment has.
    """
    return list(_probes(Reference(profile, lists)))


def _probes(reference: Reference) -> Iterator[Probe]:
    for rule in reference.profile.rules:
        shape = reference.trigger(rule)
        if shape is None:
            yield _unreached(rule)
            continue
        yield probe_vectors(reference, rule, shape)
        yield from probe_action(reference, rule, shape)
        yield from probe_shares(reference, rule, shape)
        yield from probe_crowd(reference, rule, shape)
        yield from probe_depth(reference, rule, shape)
        yield from probe_times(reference, rule, shape)
        yield from probe_delay(reference, rule, shape)
    yield from probe_inspection(reference)


def numbers_of(profile: Profile) -> dict[tuple[str, str], float]:
    """Return all numbers to be measured, by rule (or `inspection`) and name."""
    numbers = {
        (rule.name, name): value
        for rule in profile.rules
        for name, value in _numbers_of(rule).items()
    }
    inspection = profile.inspection
    for name in inspection.evidence:
        if name not in ("reassembles", "quic_hello"):
            numbers["inspection", name] = float(getattr(inspection, name))
    return numbers


def unmeasured(profile: Profile, findings: Sequence[Finding]) -> list[Measurement]:
    """Return, as failures, the numbers about which there is no finding."""
    found = {(f.rule, f.number.split()[0]) for f in findings if isinstance(f, Measurement)}
    return [
        Measurement(rule, name, value, None, how="the calibration has no experiment for it")
        for (rule, name), value in numbers_of(profile).items()
        if (rule, name) not in found
    ]


def _numbers_of(rule: Rule) -> dict[str, float]:
    """Return a rule's own numbers: those that have evidence and an effect."""
    holders = (rule.action, rule, rule.match)
    idle = {*number_types(rule.action)} - {*action_numbers(rule.action)}
    own = {
        name: float(next(getattr(h, name) for h in holders if hasattr(h, name)))
        for name in rule.evidence
        if name not in {"match", "action", *idle} and not name.startswith("share")
    }
    return {**own, **rule.match.shares}


def _unreached(rule: Rule) -> Probe:
    """Return an empty experiment that reports that no flow reveals a rule's numbers."""
    why = "the calibration knows no IPv4 flow to which the rule applies"
    if rule.match.fingerprint:
        why += ", and none can be made from a fingerprint, which is a hash"

    def judge(seen: Observation) -> Sequence[Finding]:
        del seen
        inherent = bool(rule.match.fingerprint)
        return [
            Measurement(rule.name, name, value, None, how=why, is_inherent=inherent)
            for name, value in _numbers_of(rule).items()
        ]

    return Probe(Script.empty(rule.name), judge)
