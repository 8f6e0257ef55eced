"""The command `schema`."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from testbed.cli.registry import Command, Panel
from testbed.experiment.json_schemas import schema


class SchemaKind(StrEnum):
    """The kinds of files that people write."""

    SCENARIO = "scenario"
    CENSOR = "censor"
    STACK = "stack"
    MESSENGER = "messenger"
    LINKS = "links"
    TRACE = "trace"
    NAT = "nat"
    REPORTS = "reports"
    HYPOTHESES = "hypotheses"


def print_schema(
    kind: Annotated[SchemaKind, typer.Argument(help="The kind of file.")],
) -> None:
    """Print the JSON Schema of a kind of TOML file, which editors use to complete and check it.

    Example: testbed schema scenario > scenario.schema.json
    """
    json.dump(schema(kind.value), sys.stdout, indent=1)
    sys.stdout.write("\n")


COMMAND = Command(Panel.RUN, print_schema)
