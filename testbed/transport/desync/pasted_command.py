"""Read a command line of any of the tools, whichever it is for."""

from __future__ import annotations

import re
from dataclasses import replace

from testbed.transport.desync.byedpi import read_byedpi
from testbed.transport.desync.command_line import words
from testbed.transport.desync.nfqws import read_nfqws
from testbed.transport.desync.strategy import Strategy, StrategyError
from testbed.transport.desync.values import ReadFile

_ZAPRET = re.compile(
    r"--(dpi-|filter-|wf-|hostlist|ipset-|ipset=\S*[/.]|new|lua-|qnum|dup|orig-|wssize|payload|ip-id)"
)
_ZAPRET_PROGRAMS = {"nfqws", "winws", "dvtws", "nfqws2", "winws2", "dvtws2"}
_OTHER_PROGRAMS = {"tpws", "tpws2", "goodbyedpi", "youtubeunblock"}


def read_strategy(text: str, read: ReadFile) -> Strategy:
    """Return the strategy of a command line that somebody pasted; of an empty one, an empty one.

    `read` returns the content of files that are here.

    Raises:
        StrategyError: It cannot be followed.
    """
    program, arguments, notes = words(text)
    if program in _OTHER_PROGRAMS:
        raise StrategyError(
            f"{program}'s options are not read here, only those of nfqws and byedpi; run your own "
            'program with kind = "nfqueue"'
        )
    is_zapret = program in _ZAPRET_PROGRAMS or (
        not program and any(_ZAPRET.match(word) for word in arguments)
    )
    strategy = (read_nfqws if is_zapret else read_byedpi)(arguments, read)
    return replace(strategy, notes=(*notes, *strategy.notes))
