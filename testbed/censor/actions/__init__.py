"""The actions that a rule may take: each file here with an `ACTION` is one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from testbed.censor.action import Action
from testbed.plugins import Plugins

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_FOUND: Mapping[str, type[Action]] = Plugins(__name__, "ACTION")
ACTIONS: Mapping[str, type[Action]] = {str(action.kind): action for action in _FOUND.values()}
"""All actions by their `kind` in a profile."""


class _ByKind:
    """Makes pydantic read an action into the class that its `kind` names."""

    @staticmethod
    def __get_pydantic_core_schema__(_source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic import Field  # noqa: PLC0415 - guests have no pydantic

        any_of: object = reduce(or_, ACTIONS.values())
        return handler.generate_schema(Annotated[any_of, Field(discriminator="kind")])


AnyAction = Annotated[Action, _ByKind]
"""The type of an action in a profile."""
