"""A pluggable transport's binary: `pt:/path/to/lyrebird`, which is both client and server."""

from __future__ import annotations

import os
from pathlib import Path

from testbed.experiment.brought.brought import Brought, Format, title_of
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.names import Name

_PREFIX = "pt:"
_OF_OBFS4 = ("lyrebird", "obfs4proxy")
"""Programs of several transports, of which obfs4 is taken unless another `name` is given."""


def _read(text: str) -> Brought:
    path = Path(text.removeprefix(_PREFIX)).absolute()
    if not path.is_file():
        raise ScenarioError(f"{_PREFIX}{path}: there is no such file")
    if not os.access(path, os.X_OK):
        raise ScenarioError(f"{_PREFIX}{path}: the file is not executable")
    name = "obfs4" if path.stem in _OF_OBFS4 else path.stem
    command = [str(path)]
    parameters = {"name": name, "server": command, "client": command}
    return Brought(f"the pluggable transport {path}", Name("pt", parameters), title_of([path.stem]))


FORMAT = Format(lambda text: text.startswith(_PREFIX), _read)
