"""The ends of baresips: each is told to hang up, and nobody waits for one that has ended."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from testbed.lab.engines.baresip import BaresipEnd, follow, hang_up
from testbed.lab.engines.real_call import Change
from testbed.lab.nodes.host import LabHost

ANSWER = b'{"response":true}'


async def hung_up(*, answers: bool, leaves_first: bool) -> list[str]:
    """Hang two ends up, the second of which does as said; give what the ends told."""
    ends, theirs = [], []
    told, changes = trio.open_memory_channel[Change](math.inf)
    for name in ("caller", "callee"):
        ours, its = trio.testing.memory_stream_pair()
        host = cast(LabHost, None)
        ends.append(BaresipEnd(name, host, Path(), control=ours, heard=Path()))
        theirs.append(its)

    async def behave(stream: trio.abc.Stream, answers: bool) -> None:
        assert b"hangup" in await stream.receive_some()
        if answers:
            await stream.send_all(b"%d:%b," % (len(ANSWER), ANSWER))
        else:
            await stream.aclose()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await theirs[1].send_all(b'24:{"type":"CALL_RTPESTAB"},')
            for end in ends:
                nursery.start_soon(follow, end, told)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(behave, theirs[0], True)
            if leaves_first:
                await theirs[1].aclose()
            else:
                nursery.start_soon(behave, theirs[1], answers)
            await hang_up(ends)
            nursery.cancel_scope.cancel()
    told.close()
    return [change.state async for change in changes]


@pytest.mark.parametrize(
    ("answers", "leaves_first"), [(True, False), (False, False), (False, True)]
)
def test_a_call_ends_whether_or_not_its_ends_are_still_there(
    answers: bool, leaves_first: bool
) -> None:
    async def play() -> list[str]:
        return await hung_up(answers=answers, leaves_first=leaves_first)

    assert trio.run(play) == ["CALL_RTPESTAB"]
