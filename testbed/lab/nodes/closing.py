"""Closes a cell's hosts, and finds out whether a program's end is behind a failure; no host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import trio

from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.process import LAST_WORDS_S, ProcessEnded

_LOOKS = 10
"""How often, within `LAST_WORDS_S`, it is looked whether a program has ended."""


@asynccontextmanager
async def closing(hosts: Collection[LabHost]) -> AsyncIterator[None]:
    """Close a cell's hosts in the end.

    Raises:
        ProcessEnded: Something failed, and a program had ended, which may be why: what waits for
            a program often learns of its end before the program is known to have ended.
    """
    try:
        yield
    except (Exception, trio.Cancelled) as error:
        if ended := await _ended(hosts):
            raise ProcessEnded("; ".join(ended)) from error
        raise
    finally:
        for host in hosts:  # all of them, before one program's end ends another's
            host.let_end()
        for host in hosts:
            await host.close()


async def _ended(hosts: Collection[LabHost]) -> list[str]:
    """Say of programs that end now how they did."""
    with trio.CancelScope(shield=True):
        for _ in range(_LOOKS):
            if found := [words for host in hosts for words in await host.ended()]:
                return found
            await trio.sleep(LAST_WORDS_S / _LOOKS)
    return []
