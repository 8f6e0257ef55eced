"""Intervals against closed forms, and what a reader relies on: order, symmetry, honesty about n."""

from __future__ import annotations

from math import comb, inf, sqrt
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.analysis.statistics import (
    Estimate,
    coverage_limit,
    median_effect,
    median_of,
    ranks,
    share,
    share_effect,
)

Z = 1.959963984540054
numbers = st.floats(-1e6, 1e6, allow_nan=False)
trials = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
outcomes = st.dictionaries(st.integers(0, 30), st.booleans(), min_size=1)


@given(trials)
def test_wilson_bounds_are_where_the_score_test_turns(trial: tuple[int, int]) -> None:
    successes, n = trial
    found = share(successes, n)
    assert 0 <= found.low <= found.value <= found.high <= 1
    for bound in (found.low, found.high):
        if 0 < bound < 1:
            assert abs(found.value - bound) == pytest.approx(
                Z * sqrt(bound * (1 - bound) / n), rel=1e-6
            )


def test_wilson_gives_the_published_interval() -> None:
    # Newcombe, Stat. Med. 17 (1998) 857, table I, method 3: 81 of 263, and 0 of 20.
    found = share(81, 263)
    assert found.low == pytest.approx(0.2553, abs=1e-4)
    assert found.high == pytest.approx(0.3662, abs=1e-4)
    assert share(0, 20).low == 0
    assert share(0, 20).high == pytest.approx(0.1611, abs=1e-4)


@given(trials)
def test_a_share_and_its_complement_mirror_each_other(trial: tuple[int, int]) -> None:
    successes, n = trial
    one, other = share(successes, n), share(n - successes, n)
    assert one.low == pytest.approx(1 - other.high)
    assert one.high == pytest.approx(1 - other.low)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_what_is_no_share_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        share(successes, n)


def bootstrap_probability(n: int, rank: int) -> float:
    """Exact: how often the median of a resample of n (odd) values is at most the rank-th least."""
    p = rank / n
    need = (n + 1) // 2
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(need, n + 1))


@given(st.lists(numbers, min_size=3, max_size=25, unique=True).filter(lambda v: len(v) % 2 == 1))
@settings(max_examples=60, deadline=None)
def test_bootstrap_of_a_median_is_the_exact_one_but_for_its_draws(values: list[float]) -> None:
    found = median_of(values)
    assert found is not None
    n, order = len(values), sorted(values)
    assert found.value == median(values)
    slack = 4 * sqrt(0.025 * 0.975 / 9999)
    low, high = order.index(found.low) + 1, order.index(found.high) + 1
    assert bootstrap_probability(n, low) >= 0.025 - slack
    assert bootstrap_probability(n, low - 1) <= 0.025 + slack
    assert bootstrap_probability(n, high) >= 0.975 - slack
    assert bootstrap_probability(n, high - 1) <= 0.975 + slack


@given(st.lists(numbers, min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_median_lies_in_its_interval_and_repeats(values: list[float], rng: object) -> None:
    found = median_of(values)
    assert found is not None
    assert found.low <= found.value <= found.high
    assert found == median_of(values)
    assert found.n == len(values)


def test_of_one_value_nothing_is_known_and_of_none_there_is_no_estimate() -> None:
    assert median_of([3.5]) == Estimate(3.5, -inf, inf, 1)
    assert median_of([]) is None
    assert not Estimate(3.5, -inf, inf, 1).excludes_zero


def test_three_values_cover_their_median_in_three_of_four_cases() -> None:
    assert coverage_limit(3) == 0.75
    assert coverage_limit(5) < 0.95 < coverage_limit(6)
    assert coverage_limit(1) == coverage_limit(0) == 0


@given(outcomes, outcomes)
def test_an_effect_on_a_share_is_antisymmetric_and_within_its_bounds(
    one: dict[int, bool], other: dict[int, bool]
) -> None:
    effect, back = share_effect(one, other), share_effect(other, one)
    common = one.keys() & other.keys()
    if not common:
        assert effect is None
        return
    assert effect is not None
    assert back is not None
    assert effect.n == len(common)
    assert -1 - 1e-9 <= effect.low <= effect.value <= effect.high <= 1 + 1e-9
    assert effect.value == -back.value
    assert effect.low == pytest.approx(-back.high)


def test_an_effect_of_paired_shares_is_newcombes() -> None:
    # 36, 12, 2, 0 (both, first, second, neither): 0.0569 to 0.3404 by method 10.
    pairs = [(1, 1)] * 36 + [(1, 0)] * 12 + [(0, 1)] * 2
    one = {i: bool(a) for i, (a, _) in enumerate(pairs)}
    other = {i: bool(b) for i, (_, b) in enumerate(pairs)}
    effect = share_effect(one, other)
    assert effect is not None
    assert effect.value == pytest.approx(0.2)
    assert effect.low == pytest.approx(0.0569, abs=1e-4)
    assert effect.high == pytest.approx(0.3404, abs=1e-4)


def test_pairs_decide_and_what_has_no_partner_does_not_count() -> None:
    treated, control = {1: 5.0, 2: 7.0, 3: 9.0, 9: 99.0}, {1: 1.0, 2: 3.0, 3: 5.0, 8: -99.0}
    assert median_effect(treated, control) == Estimate(4.0, 4.0, 4.0, 3)
    assert median_effect({1: 1.0}, {2: 1.0}) is None


def test_overlapping_intervals_share_a_rank() -> None:
    sure = [Estimate(v, v - 0.1, v + 0.1, 9) for v in (0.9, 0.85, 0.5, 0.45, 0.1)]
    assert ranks(sure) == [1, 1, 3, 3, 5]
    assert ranks([Estimate(0.5, -inf, inf, 1), *sure]) == [1, 1, 1, 3, 3, 5]
    assert ranks([]) == []


@given(st.lists(st.tuples(numbers, st.floats(0, 100)), min_size=1, max_size=12))
def test_ranks_never_contradict_values_and_one_is_first(values: list[tuple[float, float]]) -> None:
    found = [Estimate(v, v - half, v + half, 3) for v, half in values]
    given_ranks = ranks(found)
    assert min(given_ranks) == 1
    for this, rank in zip(found, given_ranks, strict=True):
        for other, other_rank in zip(found, given_ranks, strict=True):
            if this.low > other.high:
                assert rank < other_rank
