"""The host kernel is tried before it is used, and what it lacks has a name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from testbed.experiment.cell import LACKS_FILE
from testbed.run import runner


def test_host_kernel_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(runner.LabError, match="needs root"):
        runner.on_host()


def test_what_a_host_kernel_lacks_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        returncode = 0

    def answer(command: list[str], **_: object) -> Answer:
        if "/run/job" in command:
            job = Path(command[command.index("/run/job") + 1])
            (job / LACKS_FILE).write_text('["netem (CONFIG_NET_SCH_NETEM)"]')
        return Answer()

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(subprocess, "run", answer)
    with pytest.raises(runner.LabError, match=r"lacks netem \(CONFIG_NET_SCH_NETEM\).*modprobe"):
        runner.on_host()
