"""A lab that measures which transport keeps a voice call usable under a censor's restriction."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.analysis.dataframes import RunTables

__version__ = "0.1.0"


def load(folder: str | Path) -> RunTables:
    """Read a run's folder into pandas DataFrames: `cells`, `steps`, `events`.

    `testbed.analysis.dataframes` documents their columns.

    Raises:
        ResultsError: The folder does not hold a run.
    """
    # Imported here, not at the top: guests import this module and must not load pandas.
    tables: RunTables = import_module("testbed.analysis.dataframes").load(folder)
    return tables
