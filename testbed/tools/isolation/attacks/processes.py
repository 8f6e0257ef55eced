"""Attacks on processes of the user, and on the machine's kernel."""

from __future__ import annotations

import fcntl
import os
import signal
import time

from testbed.tools.isolation.attacks import HOLD_S, Target, attack, checked, libc

_PTRACE_ATTACH = 16


@attack("learnt")
def read_environment(at: Target) -> None:
    """Read the environment of a process of the user."""
    at.learnt(at.process("environ").read_bytes())


@attack("hurt")
def change_oom_score(at: Target) -> None:
    """Change how a process of the user is treated when memory runs out."""
    at.process("oom_score_adj").write_text("777")


@attack("learnt")
def open_memory(at: Target) -> None:
    """Open the memory of a process of the user for writing."""
    with at.process("mem").open("r+b"):
        at.learnt(at.token)


@attack("learnt")
def open_core_pattern(at: Target) -> None:
    """Open the kernel's core_pattern for writing."""
    with at.on_host("/proc/sys/kernel/core_pattern").open("r+"):
        at.learnt(at.token)


@attack("learnt")
def open_sysrq(at: Target) -> None:
    """Open the kernel's sysrq-trigger for writing."""
    with at.on_host("/proc/sysrq-trigger").open("w"):
        at.learnt(at.token)


@attack("hurt", "process")
def kill(at: Target) -> None:
    """Kill a process of the user."""
    os.kill(at.victim, signal.SIGKILL)


@attack("hurt", "process")
def stop(at: Target) -> None:
    """Stop a process of the user."""
    os.kill(at.victim, signal.SIGSTOP)


@attack("learnt", "process")
def trace(at: Target) -> None:
    """Trace a process of the user."""
    checked(libc.ptrace(_PTRACE_ATTACH, at.victim, None, None))
    at.learnt(at.token)


@attack("hurt", "process")
def slow_down(at: Target) -> None:
    """Slow a process of the user down."""
    os.setpriority(os.PRIO_PROCESS, at.victim, 17)


@attack("learnt", "process")
def list_processes(at: Target) -> None:
    """List the processes of the machine."""
    if at.process("cmdline").read_bytes():
        at.learnt(at.token)


@attack("outlived", "process")
def outlive(at: Target) -> None:
    """Leave a process that lives on."""
    lock = (at.job / "alive").open("w")
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    fcntl.flock(lock, fcntl.LOCK_EX)
    at.learnt(at.token)
    time.sleep(HOLD_S)
