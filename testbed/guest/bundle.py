"""Writes the bundle from which guests import (`testbed.guest.boot`), once per version of the code.

Run as a program on a folder of packages, it imports everything that cells import, and records which
modules were loaded and which code attrs and dataclasses generated meanwhile.
"""

from __future__ import annotations

import importlib
import marshal
import sys
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType
from typing import Any

from testbed.guest.boot import BUNDLE, GENERATED, INDEX

_PROGRAM = "testbed.lab.main"
_PYC_HEADER_BYTES = 16


def main(tree: Path, place: str) -> None:
    """Write the bundle of a folder of compiled packages that is mounted at `place` in guests."""
    generated = _import_all(tree)
    modules: dict[str, tuple[bool, str, int, int]] = {}
    extensions: dict[str, str] = {}
    code = bytearray()
    for name, module in sorted(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if name == "__main__" or spec is None or not spec.has_location:
            continue
        origin = str(spec.origin)
        seen_at = origin.replace(str(tree), place, 1)
        if isinstance(spec.loader, SourceFileLoader):
            content = _code(name, origin, spec.loader)
            is_package = spec.submodule_search_locations is not None
            modules[name] = (is_package, seen_at, len(code), len(content))
            code += content
        else:
            extensions[name] = seen_at
    (tree / BUNDLE).write_bytes(code)
    (tree / INDEX).write_bytes(marshal.dumps({"modules": modules, "extensions": extensions}))
    (tree / GENERATED).write_bytes(marshal.dumps(generated))


def _import_all(tree: Path) -> dict[str, CodeType]:
    """Import everything that cells import; return the generated code, by its source text."""
    import dataclasses  # noqa: PLC0415 - part of what is recorded

    import attr._make  # noqa: PLC0415

    generated: dict[str, CodeType] = {}

    def compile_text(text: str, name: str, mode: str) -> CodeType:
        code: CodeType = compile(text, name, mode)
        return generated.setdefault(text, code)

    def exec_text(text: str, *places: dict[str, Any]) -> None:
        exec(compile_text(text, "<string>", "exec"), *places)

    vars(dataclasses)["exec"], vars(attr._make)["compile"] = exec_text, compile_text
    importlib.import_module(_PROGRAM)
    for file in sorted((tree / "transports").glob("[!_.]*.py")):
        with suppress(ImportError):  # the transport's own cell will report it
            importlib.import_module(f"transports.{file.stem}")
    return generated


def _code(name: str, origin: str, loader: SourceFileLoader) -> bytes:
    """Return a module's marshalled code, from its compiled file if there is one."""
    compiled = Path(cache_from_source(origin, optimization=""))
    if compiled.is_file():
        return compiled.read_bytes()[_PYC_HEADER_BYTES:]
    return marshal.dumps(loader.get_code(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
