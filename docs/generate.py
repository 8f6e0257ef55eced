"""Write the pages that follow from data, so that no document repeats it by hand.

Two kinds of pages are generated:

- *kept* pages are read in the repository itself: the index of decisions, the table of claims in
  ARTIFACT.md, and the notebook that is made of `notebook.py`. They are committed, and a test
  checks that they are up to date.
- *built* pages exist only in the site: the commands, the keys of TOML files, and the public
  interface in Python. They follow from the code, and are written before each build.

`python docs/generate.py` writes the kept pages, `--check` only compares them, and `--built` writes
the built pages.
"""

from __future__ import annotations

import argparse
import dataclasses
import html
import json
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.tools.claims import CLAIMS_FILE, Claim, load_claims

DOCS = Path(__file__).parent
ROOT = DOCS.parent

API = {
    "testbed": ("load",),
    "testbed.analysis.dataframes": ("RunTables",),
    "testbed.transport.client_side": (),
    "testbed.transport.interface": (),
    "testbed.transport.loopback": ("LoopbackHost",),
}
"""The public interface: each module with its public names; no names: all that have a docstring."""

KINDS = {
    "scenario": "Scenarios (`scenarios/*.toml`)",
    "censor": "Censor profiles (`scenarios/censors/*.toml`)",
    "stack": "Stacks of profiles (`scenarios/stacks/*.toml`)",
    "messenger": "Messengers (`scenarios/messengers/*.toml`)",
    "links": "Link sets (`scenarios/links/*.toml`)",
    "trace": "Models of mobile links (`scenarios/traces/*.toml`)",
    "nat": "Address translation (`scenarios/nats/*.toml`)",
    "reports": "Reports (`scenarios/reports/*.toml`)",
    "hypotheses": "Hypotheses (`scenarios/hypotheses/*.toml`)",
}
"""The kinds of TOML files that people write, with the headings of their sections."""

NOTE = "<!-- Written by docs/generate.py; edit {source} instead. -->"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


# The kept pages.


def decision_index() -> str:
    """Return the index of decisions, one row per file, in the order of their numbers."""
    rows = []
    for file in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        text = file.read_text()
        title = _first(r"^# (\d+\. .+)$", text, file)
        date = _first(r"^- Date: (\d{4}-\d\d-\d\d)$", text, file)
        status = _first(r"^- Status: (.+)$", text, file)
        rows.append((f"[{title}]({file.name})", date, status))
    intro = (DOCS / "decisions" / "intro.md").read_text()
    note = NOTE.format(source="intro.md and the decisions themselves")
    files = "\n".join(sorted(file.stem for file in (DOCS / "decisions").glob("[0-9]*.md")))
    tree = f"```{{toctree}}\n:hidden:\n\n{files}\n```\n"
    return f"{note}\n\n{intro}\n{table(('Decision', 'Date', 'Status'), rows)}\n{tree}"


def _first(pattern: str, text: str, file: Path) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{file}: there is no line {pattern}")
    return found[1]


def artifact() -> str:
    """Return ARTIFACT.md: its introduction, and the claims with how to reproduce each."""
    content = load_claims()
    source = CLAIMS_FILE.relative_to(ROOT)
    parts = [NOTE.format(source=source), content.introduction.strip()]
    rows = [
        (f"[{key}](#{key})", each.claim, f"{each.minutes}") for key, each in content.claims.items()
    ]
    parts.append(table(("Name", "Claim", "Minutes"), rows).strip())
    parts += [_claim(key, each) for key, each in content.claims.items()]
    return "\n\n".join(parts) + "\n"


def _claim(key: str, claim: Claim) -> str:
    rows = [(each.what, each.claimed(), each.tolerated(), each.where) for each in claim.values]
    return "\n\n".join(
        (
            f"## {key}",
            claim.claim + ".",
            f"```sh\n./lab reproduce {key}\n```",
            table(("Value", "Expected", "Tolerance", "Where to read it"), rows).strip(),
            f"To read the values yourself: `{claim.command}`. {claim.note.strip()}",
        )
    )


def notebook() -> str:
    """Return the notebook that Jupyter opens, from the script with its cells."""
    cells = []
    for number, (kind, lines) in enumerate(notebook_cells()):
        source = "\n".join(lines).splitlines(keepends=True)
        cell: dict[str, object] = {
            "cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source,
        }  # fmt: skip
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {
        "cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    return json.dumps(content, indent=1) + "\n"


def notebook_cells() -> Iterator[tuple[str, list[str]]]:
    """Yield each cell's kind and lines; a cell begins with `# %%`, and text is commented out."""
    for part in re.split(r"^# %%", (DOCS / "notebook.py").read_text(), flags=re.MULTILINE)[1:]:
        kind, _, text = part.partition("\n")
        lines = text.strip().split("\n")
        if kind.strip() == "[markdown]":
            yield "markdown", [line.removeprefix("#").removeprefix(" ") for line in lines]
        else:
            yield "code", lines


KEPT: Mapping[Path, Callable[[], str]] = {
    DOCS / "decisions" / "index.md": decision_index,
    ROOT / "ARTIFACT.md": artifact,
    DOCS / "notebook.ipynb": notebook,
}


# The built pages.


def commands() -> str:
    """Return the reference of the command line, by typer's own documentation command."""
    typer = [sys.executable, "-m", "typer", "testbed.cli.app", "utils", "docs", "--name", "testbed"]
    done = subprocess.run(typer, cwd=ROOT, check=True, capture_output=True, text=True)
    text = html.unescape(done.stdout).replace(f"{ROOT}/", "")
    text = re.sub(r"\[/?bold\]", "`", text)  # rich's markup
    text = re.sub(r"^Example: (testbed .+)$", r"Example: `\1`", text, flags=re.MULTILINE)
    title = "# Commands\n\n`./lab` and `testbed` take the same words.\n"
    return _whole_summaries(text).replace("# `testbed`\n", title, 1)


def _whole_summaries(text: str) -> str:
    """Replace typer's shortened summaries of commands by whole ones, with links."""
    summaries = dict(re.findall(r"^#+ `(testbed .+)`\n\n(.+)$", text, re.MULTILINE))
    lines, current = [], ""
    for line in text.splitlines():
        heading = re.match(r"#+ `(testbed.*)`$", line)
        current = heading[1] if heading else current
        entry = re.match(r"\* `([a-z][a-z-]*)`: ", line)
        command = f"{current} {entry[1]}" if entry else ""
        if entry and command in summaries:
            anchor = command.replace(" ", "-")
            lines.append(f"* [`{entry[1]}`](#{anchor}): {summaries[command]}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def toml_keys() -> str:
    """Return the reference of the keys in TOML files, by their JSON Schemas."""
    from testbed.experiment import json_schemas  # noqa: PLC0415

    parts = ["# TOML keys", (DOCS / "reference" / "toml-intro.md").read_text().strip()]
    for kind, heading in KINDS.items():
        found = json_schemas.schema(kind)
        docs = dict(_attribute_docs(json_schemas.KINDS[kind]))
        parts += [f"## {heading}", _keys(kind, json_schemas.KINDS[kind].__name__, found, docs)]
        for name, definition in sorted(found.get("$defs", {}).items()):
            if "properties" in definition:
                parts += [f"({_anchor(kind, name)})=\n### {name} ({kind})"]
                parts += [_prose(definition.get("description", ""))]
                parts += [_keys(kind, name, definition, docs)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _anchor(kind: str, name: str) -> str:
    return f"{kind}-{name}".lower()


def _keys(kind: str, name: str, definition: Mapping[str, Any], docs: Mapping[Any, str]) -> str:
    required = definition.get("required", ())
    rows = []
    for key, value in definition.get("properties", {}).items():
        default = "required" if key in required else _default(value)
        rows.append((f"`{key}`", _type(kind, value), default, docs.get((name, key), "")))
    return table(("Key", "Type", "Default", "Meaning"), rows) if rows else ""


def _default(value: Mapping[str, Any]) -> str:
    if value.get("default") is None:
        return ""
    text = json.dumps(value["default"], ensure_ascii=False).replace("|", "\\|")
    return f"`{text}`"


def _type(kind: str, value: Mapping[str, Any]) -> str:
    """Return a readable type of a key by its JSON Schema."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        if name == "JsonValue":  # whatever TOML can express: it has no keys to list
            return "any value"
        return f"[{name}](#{_anchor(kind, name)})"
    for several in ("anyOf", "oneOf"):
        if several in value:
            return ", or ".join(dict.fromkeys(_type(kind, each) for each in value[several]))
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    return _plain_type(kind, value)


def _plain_type(kind: str, value: Mapping[str, Any]) -> str:
    name = str(value.get("type", "any"))
    if name == "array":
        inner = value.get("items") or value.get("prefixItems", [{}])[0]
        return f"list of {_type(kind, inner)}"
    inner = value.get("additionalProperties")
    if name == "object" and isinstance(inner, dict):
        return f"table of {_type(kind, inner)}"
    return {"object": "table", "null": "nothing"}.get(name, name)


def _attribute_docs(cls: type) -> Iterator[tuple[tuple[str, str], str]]:
    """Find the docstrings of the fields of a dataclass and of all dataclasses inside it."""
    from sphinx.pycode import ModuleAnalyzer  # noqa: PLC0415

    for each in _dataclasses(cls, set()):
        for base in reversed(each.__mro__[:-1]):
            found = ModuleAnalyzer.for_module(base.__module__).find_attr_docs()
            for (name, key), lines in found.items():
                if name == base.__name__:
                    yield (each.__name__, key), _prose(" ".join(lines)).replace("|", "\\|")


def _dataclasses(kind: object, seen: set[type]) -> Iterator[type]:
    for inner in typing.get_args(kind):
        yield from _dataclasses(inner, seen)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind not in seen:
        seen.add(kind)
        yield kind
        for hint in typing.get_type_hints(kind).values():
            yield from _dataclasses(hint, seen)


def _prose(text: str) -> str:
    """Return a docstring as Markdown."""
    return re.sub(r"[ \t]+", " ", text.replace("``", "`")).strip()


def api() -> str:
    """Return the reference of the public interface, for autodoc."""
    parts = ["# Python interface", (DOCS / "reference" / "api-intro.md").read_text().strip()]
    for module, names in API.items():
        parts.append(f"## {module}")
        if names:
            lines = [_directive(module, name) for name in names]
        else:
            lines = [f".. automodule:: {module}\n   :members:\n   :member-order: bysource"]
        parts.append("```{eval-rst}\n" + "\n\n".join(lines) + "\n```")
        if module == "testbed.analysis.dataframes":
            parts.append(_columns())
    return "\n\n".join(parts) + "\n"


def _columns() -> str:
    from testbed.analysis import dataframes  # noqa: PLC0415

    parts = []
    for name in ("cells", "steps", "events"):
        columns = getattr(dataframes, name.upper())
        rows = [(f"`{column.name}`", str(column.type)) for column in columns]
        parts.append(f"Columns of `{name}`:\n\n{table(('Column', 'Type'), rows)}")
    return "\n".join(parts).strip()


def _directive(module: str, name: str) -> str:
    from importlib import import_module  # noqa: PLC0415

    if isinstance(getattr(import_module(module), name), type):
        return f".. autoclass:: {module}.{name}\n   :members:"
    return f".. autofunction:: {module}.{name}"


BUILT: Mapping[Path, Callable[[], str]] = {
    DOCS / "reference" / "commands.md": commands,
    DOCS / "reference" / "toml.md": toml_keys,
    DOCS / "reference" / "api.md": api,
}


def main() -> int:
    """Write or check pages; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the pages that follow from data.")
    parser.add_argument("--check", action="store_true", help="compare the kept pages; write none")
    parser.add_argument("--built", action="store_true", help="write the pages of the site instead")
    options = parser.parse_args()
    stale = []
    for file, make in (BUILT if options.built else KEPT).items():
        text = make()
        if options.check and (not file.exists() or file.read_text() != text):
            stale.append(file)
        elif not options.check:
            file.write_text(text)
    for file in stale:
        print(f"{file.relative_to(ROOT)} is out of date: run python docs/generate.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
