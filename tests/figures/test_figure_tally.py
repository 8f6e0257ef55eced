from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from testbed.call.quality.verdict import Verdict
from testbed.experiment.scenario import load_scenario
from testbed.experiment.unfolding import cell_id, cells
from testbed.show.drawing.tally import by_messenger, natural, tally
from tests.figures.conftest import call
from tests.records import RUSSIA, id_of, recorded

KEYS = st.tuples(
    st.sampled_from(["Telegram", "WhatsApp", "MAX"]),
    st.sampled_from(["direct", "obfs4", "obfs4 {iat_mode = 1}"]),
    st.sampled_from(["open", RUSSIA, f"{RUSSIA} drop=0.3"]),
    st.integers(0, 9),
)
CALLS = st.dictionaries(KEYS, st.tuples(st.sampled_from(Verdict), st.integers(0, 30)))


@given(CALLS, st.sets(KEYS))
def test_every_call_is_counted_once_where_it_belongs(
    calls: dict[tuple[str, str, str, int], tuple[Verdict, int]],
    failed: set[tuple[str, str, str, int]],
) -> None:
    results = [recorded(call(*key, verdict, n)) for key, (verdict, n) in calls.items()]
    failures = [id_of(call(*key, Verdict.GOOD)) for key in failed]
    tallies = tally(results, failures)

    counted = Counter({(t.key, v): n for t in tallies for v, n in t.verdicts.items()})
    assert counted == Counter((r.record.key, r.record.verdict) for r in results)
    assert sum(t.failed for t in tallies) == len(failed - calls.keys())
    assert sum(t.chat_delivered for t in tallies) == sum(n for _, n in calls.values())
    assert sum(t.chat_sent for t in tallies) == 30 * len(calls)
    assert len({t.key for t in tallies}) == len(tallies)
    assert all(t.calls + t.failed > 0 and t.usable <= t.calls for t in tallies)
    assert len(by_messenger(tallies)) == len({t.key.messenger for t in tallies})


@given(CALLS.flatmap(lambda calls: st.tuples(st.just(calls), st.permutations(list(calls)))))
def test_the_order_of_the_record_does_not_matter(
    given_: tuple[
        dict[tuple[str, str, str, int], tuple[Verdict, int]], list[tuple[str, str, str, int]]
    ],
) -> None:
    calls, shuffled = given_
    one, other = (
        tally([recorded(call(*key, calls[key][0])) for key in keys], ())
        for keys in (calls, shuffled)
    )
    assert one == other


def test_a_failed_cell_is_counted_with_its_like() -> None:
    """Cells are named by the scenario's rule, with sweeps and all."""
    planned = cells(load_scenario("ru-calls-strength"))
    first, *rest = sorted({c.seed for c in planned})
    results = [
        recorded(call(c.messenger.name, str(c.transport), c.censor.name, c.seed, Verdict.GOOD))
        for c in planned
        if c.seed == first
    ]
    tallies = tally(results, [cell_id(c) for c in planned if c.seed != first])
    assert len(tallies) == len(results)
    assert all(t.calls == 1 and t.failed == len(rest) for t in tallies)


def test_a_failed_cell_without_its_like_is_named_as_it_can_be() -> None:
    (only,) = tally([], ["telegram--obfs4-iat-mode-1--open--seed-1"])
    assert only.key == ("Telegram", "obfs4-iat-mode-1", "open")
    assert (only.calls, only.failed, only.usable_share, only.chat_share) == (0, 1, None, None)
    (odd,) = tally([], ["what-is-this"])
    assert odd.failed == 1


def test_the_most_restricted_first_then_no_restriction_then_the_best_transport() -> None:
    facts = [
        ("MAX", "direct", RUSSIA, Verdict.GOOD),
        ("MAX", "direct", "open", Verdict.GOOD),
        ("Telegram", "direct", RUSSIA, Verdict.NO_CALL),
        ("Telegram", "obfs4", RUSSIA, Verdict.GOOD),
        ("Telegram", "direct", "open", Verdict.GOOD),
    ]
    results = [recorded(call(m, t, c, 1, v)) for m, t, c, v in facts]
    order = [(t.key.messenger.split()[0], *t.key[1:]) for t in tally(results, ())]
    assert order == [(m, t, c) for m, t, c, _ in reversed(facts)]


@given(st.lists(st.floats(0, 1e7, allow_nan=False).map(lambda x: float(f"{x:g}"))))
def test_sweeps_are_in_the_order_of_their_values(values: list[float]) -> None:
    names = [f"{RUSSIA} rate={value:g}" for value in values]
    assert sorted(names, key=natural) == [f"{RUSSIA} rate={value:g}" for value in sorted(values)]


@given(st.lists(st.text()))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert Counter(sorted(names, key=natural)) == Counter(names)
