"""The simulator that the bench compares with: it sends a call's datagrams or says what it lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed.audio.opus import SPEECH_FOLDER
from testbed.tools import benchmark, ns3


def test_where_ns_3_is_not_installed_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = benchmark.on_ns3(0)
    assert found.wall_s == 0
    assert "apt install libns3-dev g++ pkg-config" in found.why_not


def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho no such header >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ns3.Ns3Error, match=r"g\+\+ ended with status 1: no such header"):
        ns3.run_call(benchmark.KINDS[0].cell, tmp_path, 0)


@pytest.mark.slow
@pytest.mark.skipif(not SPEECH_FOLDER.is_dir(), reason="needs the package pocketsphinx-testdata")
def test_all_datagrams_of_a_call_arrive(tmp_path: Path) -> None:
    try:
        ns3.version()
    except ns3.Ns3Error as error:
        pytest.skip(str(error))
    kind = replace(benchmark.KINDS[0], duration_s=10.0)
    assert ns3.run_call(kind.cell, tmp_path, 0) > 0
