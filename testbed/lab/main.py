"""Conduct one cell, in a guest or as root on a host kernel: the program that reads a job folder.

A job folder holds `job.pickle` (a `Job`) and the chat server's certificate and key. The program
adds `record.json`, `frames.csv` and `events.log`, or `error.txt` with the reason why the cell could
not be conducted. The nodes' state folders, with logs and captures, remain there too.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from functools import partial
from pathlib import Path

import trio

from testbed.experiment.cell import ERROR_FILE, EVENTS_FILE, FRAMES_FILE, JOB_FILE, RECORD_FILE, Job
from testbed.lab.conduct import conduct
from testbed.lab.net.clock import LabClock
from testbed.record.observation import write_events, write_frames, write_observation


def main(folder: str) -> int:
    """Conduct the job in a folder, and return the exit status."""
    job_folder = Path(folder)
    with (job_folder / JOB_FILE).open("rb") as file:
        job: Job = pickle.load(file)
    conduct_job = partial(conduct, job.cell, job.network, job.frames, job_folder, pcap=job.pcap)
    try:
        observation = trio.run(conduct_job, clock=LabClock())
    except BaseException as error:
        traceback.print_exc()
        reasons = dict.fromkeys(f"{type(leaf).__name__}: {leaf}" for leaf in _leaves(error))
        (job_folder / ERROR_FILE).write_text("; ".join(reasons) + "\n")
        return 1
    write_frames(observation.call, job_folder / FRAMES_FILE)
    write_events(observation.events, job_folder / EVENTS_FILE)
    write_observation(observation, job_folder / RECORD_FILE)
    return 0


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
