"""What a person hears of a run: the right sound under the right name, the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from testbed.audio.opus import Speech, default_speech, repeated
from testbed.cli import listen
from testbed.cli.app import app
from testbed.experiment.scenario import load_messenger
from testbed.listen.call_sound import SAID_BY, aligned, samples, sound_of, write_opus, write_wav
from testbed.record.checksums import seal
from testbed.record.manifest import SpeechSource
from testbed.record.results import MANIFEST, WALL, ResultsError, Run
from tests.marks import needs_speech

pytestmark = needs_speech


@pytest.fixture
def speech() -> Speech:
    return repeated(default_speech(), 5 * 16000)


def likeness(one: Speech, other: Speech, until: int = 64000) -> float:
    left, right = (samples(sound).astype(float)[:until] for sound in (one, other))
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))


def test_what_was_heard_is_aligned_with_what_was_said(calls_run: Run) -> None:
    lossy, clean, never = (sound_of(calls_run, result) for result in calls_run.cells())
    # For half a second, the jitter buffer plays straight on; then it hurries to lessen the delay.
    said = samples(clean.said["up"]).astype(float)[2000:7000]
    heard = samples(clean.heard["up"]).astype(float)
    lags = {lag: float(said @ heard[2000 + lag : 7000 + lag]) for lag in range(-400, 400)}
    assert max(lags, key=lags.__getitem__) == pytest.approx(0, abs=1)
    assert likeness(clean.heard["up"], lossy.heard["up"], 8000) < 0.95
    assert {speech.duration_s for speech in clean.said.values()} == {10}
    assert clean.heard["down"].duration_s == pytest.approx(10, abs=0.1)
    assert never.heard == {}
    assert sound_of(calls_run, calls_run.cells()[0]) == lossy


def with_definitions(run: Run, **changes: object) -> None:
    """Say that a run was made of something else."""
    about = run.manifest()
    definitions = replace(about.definitions, **changes)  # type: ignore[arg-type]
    (run.folder / MANIFEST).write_text(replace(about, definitions=definitions).to_json())


def test_the_codec_is_the_one_that_the_run_says(calls_run: Run) -> None:
    with_definitions(calls_run, messengers={"other": load_messenger("max")})
    found = Run(calls_run.folder)
    with pytest.raises(ResultsError, match="does not say how whatsapp codes speech"):
        sound_of(found, found.cells()[0])


def test_a_real_engine_s_own_sound_is_taken_as_it_is(calls_run: Run) -> None:
    result = calls_run.cells()[1]
    said = sound_of(calls_run, result).said["up"]
    late = Speech(bytes(2 * 7000) + said.pcm, said.rate_hz)
    write_wav(late, result.folder / "heard-up.wav")
    seal(result.folder, WALL)
    heard = sound_of(calls_run, result).heard
    assert heard.keys() == {"up"}
    assert heard["up"].pcm == said.pcm


@pytest.mark.parametrize("shift", [0, 1, 333, 30000])
def test_recorded_sound_is_found_wherever_it_begins(speech: Speech, shift: int) -> None:
    late = Speech(bytes(2 * shift) + speech.pcm, speech.rate_hz)
    assert aligned(speech, late).pcm == speech.pcm
    early = aligned(speech, Speech(speech.pcm[2 * shift :], speech.rate_hz))
    assert early.pcm == bytes(2 * shift) + speech.pcm[2 * shift :]


def test_sound_files_are_read_back_and_have_the_same_bytes_each_time(
    tmp_path: Path, speech: Speech
) -> None:
    for name in ("one", "other"):
        write_wav(speech, tmp_path / f"{name}.wav")
        write_opus(speech, tmp_path / f"{name}.opus")
    for kind in ("wav", "opus"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()
    pcm, rate_hz = soundfile.read(tmp_path / "one.opus", dtype="int16")
    assert rate_hz == speech.rate_hz
    assert likeness(Speech(pcm.tobytes(), rate_hz), speech) > 0.95
    pcm, _ = soundfile.read(tmp_path / "one.wav", dtype="int16")
    assert pcm.tobytes() == speech.pcm
    assert (tmp_path / "one.opus").stat().st_size < 60_000


def test_listen_exports_each_way_side_by_side(calls_run: Run, tmp_path: Path) -> None:
    target = tmp_path / "calls"
    done = CliRunner().invoke(app, ["listen", str(calls_run.folder), "--export", str(target)])
    assert done.exit_code == 0, done.output
    [messenger] = target.iterdir()
    assert messenger.name == "WhatsApp (model)"
    names = sorted(path.name for path in messenger.iterdir())
    waves = [name.split(",")[0] for name in names if name.endswith(".wav")]
    said = [name for name in waves if "said" in name]
    assert set(said) <= {f"{n} what the {who} said.wav" for n in "01" for who in SAID_BY.values()}
    assert [name[2:] for name in waves if name not in said] == ["direct", "obfs4"]
    assert len(names) == 2 * len(waves)
    assert "nothing to hear" in " ".join(done.output.split())
    assert "metallic" in done.output
    assert all(len(line.rstrip()) <= 100 for line in done.output.splitlines())


def test_listen_to_one_cell_has_both_sides(calls_run: Run) -> None:
    done = CliRunner().invoke(app, ["listen", str(calls_run.folder), "obfs4"])
    assert done.exit_code == 0, done.output
    names = [path.stem for path in sorted(calls_run.folder.glob("listen/*/*.wav"))]
    assert [name.rpartition(", ")[2] for name in names] == [
        "0 what the callee said", "1 what the caller said", "callee hears", "caller hears",
    ]  # fmt: skip


def test_a_cell_that_is_not_there_is_an_error_that_names_those_that_are(calls_run: Run) -> None:
    done = CliRunner().invoke(app, ["listen", str(calls_run.folder), "nosuch"])
    assert isinstance(done.exception, ResultsError)
    assert "no cell 'nosuch': give one of whatsapp--direct--" in str(done.exception)
    many = CliRunner().invoke(app, ["listen", str(calls_run.folder), "whatsapp"])
    assert "3 cells have 'whatsapp' in their names" in str(many.exception)


def test_a_player_is_given_the_beginning_of_each(
    calls_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = tmp_path / "bin" / "aplay"
    player.parent.mkdir()
    player.write_text(f'#!/bin/sh\nwc -c <"$2" >>{tmp_path}/played\n')
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{player.parent}:/usr/bin:/bin")
    monkeypatch.setattr(listen, "PLAYERS", (("aplay", "-q"),))
    done = CliRunner().invoke(app, ["listen", str(calls_run.folder), "--seconds", "2"])
    assert done.exit_code == 0, done.output
    played = (tmp_path / "played").read_text().split()
    assert set(played) == {str(44 + 2 * 2 * 16000)}
    assert len(played) == len(list(calls_run.folder.rglob("*.wav")))
    assert not list(calls_run.folder.rglob(".excerpt.wav"))


def test_a_player_that_fails_says_so_once(
    calls_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = tmp_path / "aplay"
    noise = "ALSA lib confmisc.c:855:(parse_card) cannot find card '0'"
    player.write_text(f'#!/bin/sh\necho "{noise}\nno sound card\n{noise}" >&2\nexit 1\n')
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(listen, "PLAYERS", (("aplay", "-q"),))
    done = CliRunner().invoke(app, ["listen", str(calls_run.folder)])
    assert done.exit_code == 0
    assert done.output.count("no sound card") == 1
    assert "ALSA" not in done.output


def test_sound_is_not_made_of_other_speech_than_was_said(calls_run: Run) -> None:
    with_definitions(calls_run, speech=SpeechSource("own file a.wav", "", "0"))
    found = Run(calls_run.folder)
    with pytest.raises(ResultsError, match="used other speech"):
        sound_of(found, found.cells()[0])
