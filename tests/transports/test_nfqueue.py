"""A person's own program decides about a node's packets, and its files go with it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import programs_of
from testbed.experiment.scenario import load_censor
from testbed.experiment.unfolding import cell_id
from testbed.guest.kernel.builder import Kernel
from testbed.guest.programs import version
from testbed.record.results import Run
from testbed.run.runner import in_guest, run_cells
from testbed.transport.client_side import ClientSide
from tests.lab.conftest import short_cell

CPUS = sorted(os.sched_getaffinity(0))
DATA = Path(__file__).parents[1] / "data" / "evasion"
PROGRAM, FILE = DATA / "first_fakes.py", DATA / "fake.bin"
COMMAND = (str(PROGRAM), "--qnum=200", f"--file={FILE}")


def evading(command: tuple[str, ...] = COMMAND, **parameters: object) -> TransportChoice:
    return TransportChoice(
        "nfqueue", {"command": command, "files": (str(FILE),), **parameters}, title="mine"
    )


def call(choice: TransportChoice) -> Cell:
    cell = replace(short_cell("whatsapp", "direct", "open"), transport=choice)
    return replace(cell, censor=load_censor("stun-first-parsed"))


@pytest.mark.guest
def test_a_program_of_ones_own_gets_a_call_past_a_box_that_its_fakes_stop(
    kernel: Kernel, run: Run
) -> None:
    plan = {
        "fakes": call(evading()),
        "deaf": call(replace(evading((*COMMAND[:1], "--qnum=7", *COMMAND[2:])), title="deaf")),
    }
    trio.run(run_cells, run, list(plan.values()), in_guest(kernel), CPUS, lambda done: None)
    found = {cell.id: cell.record for cell in run.cells()}
    records = {name: found[cell_id(cell)] for name, cell in plan.items()}
    assert records["fakes"].verdict.label == "good"
    assert "stun" not in str(records["fakes"].observation.events)
    assert "does not read queue 200" in records["deaf"].observation.transport.reason


def test_the_program_and_its_files_are_what_guests_get_and_what_the_record_names() -> None:
    program, file = programs_of(load_transport(evading()))
    assert file.find() == FILE
    assert version(file).startswith("own (sha256 ")
    assert program.find() == PROGRAM


def test_it_has_no_bridge_and_says_which_ends_use_it() -> None:
    made = load_transport(evading(ends="both"))
    assert isinstance(made, ClientSide)
    assert made.ends == "both"
    assert not isinstance(load_transport(transport_choice("direct")), ClientSide)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"command": ()}, "a list of a program and its arguments"),
        ({"command": ("./nfqws",), "files": ()}, "'./nfqws' is neither a name nor an absolute"),
        ({"command": ("nfqws",)}, "the command does not name"),
        ({"queue": 0}, "queue: must be from 1"),
        ({"mark": 0}, "mark: must be from 1"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, object], said: str) -> None:
    choice = replace(evading(), parameters={**evading().parameters, **parameters})
    with pytest.raises(ScenarioError, match=said):
        load_transport(choice)
