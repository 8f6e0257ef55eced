"""Models that adapt and repair, in real guests: the record says what was sent, and it is heard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.call.messenger import Repair
from testbed.censor.profile import Profile
from testbed.experiment.cell import Cell
from testbed.experiment.scenario import load_censor
from testbed.guest.kernel.builder import Kernel
from testbed.listen.call_sound import sound_of
from testbed.listen.script import speech_encodings
from testbed.record.results import RecordedCell, Run
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted, files_of
from tests.records import manifest

pytestmark = pytest.mark.guest
ASSUMED = {"source": "an experiment", "confidence": "assumed"}


def lossy(name: str, duration_s: float, censor: str = "loss-20", **changes: object) -> Cell:
    """Return a short cell; options that its file does not have are an experiment."""
    cell = short_cell(name, "direct", "open", duration_s)
    known = cell.messenger
    evidence = {**known.evidence, **dict.fromkeys(changes, known.evidence["codec"])}
    changed = replace(known, evidence=evidence, **changes)  # type: ignore[arg-type]
    profile: Profile = load_censor(censor)
    return replace(cell, messenger=changed, censor=profile, speech="")


def as_run(run: Run, cell: Cell) -> None:
    """Note in a run's folder what a cell was made of."""
    run.begin(manifest(plan=[cell]), "", fresh=True)


def lost_share(run: Run, result: RecordedCell) -> float:
    ways = run.frames(result).values()
    return 1 - sum(len({k for k, _ in w.received}) for w in ways) / sum(len(w.sent_s) for w in ways)


def test_fec_begins_with_the_first_report_and_what_was_sent_is_heard(
    kernel: Kernel, run: Run
) -> None:
    cell = lossy("telegram-model", 16)
    as_run(run, cell)
    [result] = conducted(kernel, run, cell)
    encodings = speech_encodings(cell.messenger, 16, "speech")
    afters_s = []
    for way, direction in run.frames(result).items():
        assert len(direction.variants) == len(direction.sent_s) == len(encodings[way][0])
        switched = next(k for k, variant in enumerate(direction.variants) if variant)
        afters_s.append(direction.sent_s[switched] - direction.sent_s[0])
        assert len(encodings[way]) == 5
    assert result.record.measures["up"].recovered_share > 0.01
    # Half an interval, a burst, the line; a report may be lost, too.
    assert 2.4 <= min(afters_s) <= 2.5 + 0.5 + 0.2
    sound = sound_of(run, result)
    assert set(sound.heard) == {"up", "down"}
    assert sound.heard["up"].duration_s == pytest.approx(16, abs=0.5)


@pytest.mark.slow
def test_a_call_without_loss_never_has_fec_and_repeats_to_the_byte(
    kernel: Kernel, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cell = lossy("telegram-model", 6, "open")
    other = Run(tmp_path_factory.mktemp("other") / "run")
    other.begin(run.manifest(), "", fresh=False)
    [one], [again] = conducted(kernel, run, cell), conducted(kernel, other, cell)
    for direction in run.frames(one).values():
        assert set(direction.variants) == {0}
        assert len(direction.received) == len(direction.sent_s)
    assert files_of(one) == files_of(again)


def test_who_does_not_adapt_has_no_column_for_it(kernel: Kernel, run: Run) -> None:
    [result] = conducted(kernel, run, lossy("whatsapp", 4))
    header, *lines = (result.folder / "frames.csv").read_text().splitlines()
    assert header == "direction,index,sent_ns,received_ns"
    assert {line.count(",") for line in lines} == {3}


@pytest.mark.parametrize(
    "repair", [Repair(nack=True), pytest.param(Repair(copies=2), marks=pytest.mark.slow)]
)
def test_repair_brings_lost_frames(kernel: Kernel, run: Run, repair: Repair) -> None:
    """Of 20 % lost, 4 % are lost twice; what is asked for may come once more."""
    [result] = conducted(kernel, run, lossy("whatsapp", 6, repair=repair))
    assert lost_share(run, result) < 0.08
    plain = lossy("max", 6)
    [_, other] = conducted(kernel, run, lossy("whatsapp", 6, repair=repair), plain)
    assert 0.15 < lost_share(run, other) < 0.25


def test_dtx_sends_less_and_nothing_is_concealed(kernel: Kernel, run: Run) -> None:
    known = short_cell("whatsapp", "direct", "open").messenger
    silent = replace(known.codec, dtx=True)
    cell = lossy("whatsapp", 16, "open", codec=silent)
    [result] = conducted(kernel, run, cell)
    for way, direction in run.frames(result).items():
        assert len(direction.sent_s) == 16 / 0.02
        assert len(direction.received) < 0.95 * len(direction.sent_s)
        assert result.record.measures[way].output_concealed_share == 0
    assert result.record.verdict.label == "good"
