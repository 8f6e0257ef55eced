"""Generate JSON Schemas of the files that people write, for use in editors."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from testbed.call.messenger import Messenger
from testbed.censor.profile import Profile
from testbed.experiment.hypotheses import Family
from testbed.experiment.linkset import LinkSet
from testbed.experiment.nat import Nat
from testbed.experiment.reports import Reports
from testbed.experiment.scenario import Scenario
from testbed.experiment.stacks import StackFile
from testbed.experiment.trace_model import TraceModel

KINDS: Mapping[str, type] = {
    "scenario": Scenario,
    "censor": Profile,
    "stack": StackFile,
    "messenger": Messenger,
    "links": LinkSet,
    "trace": TraceModel,
    "nat": Nat,
    "reports": Reports,
    "hypotheses": Family,
}
"""Each kind of file, and the class it is read into."""


def schema(kind: str) -> JsonSchemaValue:
    """Return the JSON Schema (2020-12) of a kind of file."""
    found = TypeAdapter(KINDS[kind]).json_schema()
    found["properties"].pop("name", None)  # the file's name, not a key
    if kind in ("censor", "messenger"):
        found["properties"]["like"] = {"type": "string", "title": "Like"}
        found["anyOf"] = [{"required": ["like"]}, {"required": found["required"]}]
        found["required"] = ["reviewed"]
    return {"$schema": GenerateJsonSchema.schema_dialect, **found, "title": f"{kind} (TOML)"}
