"""The command `image`: make, update and compare the lab image (`testbed.guest.image`)."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from testbed.call.engines import ENGINES
from testbed.cli.console import err, out, short
from testbed.cli.kernel import guest_kernel
from testbed.cli.registry import Command, Panel
from testbed.cli.requirements import transport_packages
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import DEMO, ROOT, load_scenario
from testbed.experiment.unfolding import cells
from testbed.guest.go_programs import built, program_names
from testbed.guest.image.changes import changes
from testbed.guest.image.lock import BASE, LOCK_FILE, PYPI, ImageError, Lock, read_lock
from testbed.guest.image.saving import load, save
from testbed.guest.image.tree import our_image
from testbed.guest.image.update import TOOLS, new_lock
from testbed.guest.image.upkeep import disk_bytes
from testbed.guest.kernel.builder import cached_kernel
from testbed.guest.user_cache import user_cache

image_app = typer.Typer(
    no_args_is_help=True,
    help="Make, check, update or compare the lab image, which guests have as root.",
)


@image_app.command("build")
def image_build(
    groups: Annotated[
        list[str] | None,
        typer.Argument(metavar="PACKAGE", help="Packages in addition to what every cell needs."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that the lock has.")] = False,
    verify: Annotated[
        bool, typer.Option(help="First read all files in the cache, and remove what is damaged.")
    ] = False,
) -> None:
    """Fetch and unpack parts of the lab image now; a run does so for what its cells need.

    Each start of a run compares the sizes, times and modes of its cells' files with what they were,
    and makes again what is damaged. --verify finds also what a failing disk has changed.

    Examples: testbed image build; testbed image build tor obfs4proxy; testbed image build --all;
    testbed image build --verify
    """
    image = our_image()
    wanted = [*image.lock.groups] if everything else (groups or [])
    with err.status("makes the lab image") as status:
        if verify:
            status.update("reads the lab image")
            for said in image.verify():
                out.print(f"Damaged: {said}", markup=False, soft_wrap=True)
            status.update("makes the lab image")
        for groups_of_tree in ([], *([group] for group in wanted)):
            image.tree(groups_of_tree, report=status.update)
    size = disk_bytes(image.folder) / 1e6
    out.print(
        f"Lab image {image.hash}, {size:.0f} MB: {image.folder}", soft_wrap=True, markup=False
    )


@image_app.command("sweep")
def image_sweep() -> None:
    """Remove from the cache what this version's lab image does not have and no run is using.

    Without this command, that happens when it has not been used for a week.

    Example: testbed image sweep
    """
    image = our_image()
    before = disk_bytes(image.folder)
    with err.status("removes what is of other versions"):
        image.sweep()
    after = disk_bytes(image.folder)
    out.print(
        f"Removed {(before - after) / 1e6:.0f} MB; {after / 1e6:.0f} MB are left in "
        f"{image.folder}.",
        soft_wrap=True,
        markup=False,
    )


@image_app.command("update")
def image_update(
    package: Annotated[
        list[str] | None,
        typer.Option(help="Add this package of Debian, or NAME==VERSION of PyPI (repeatable)."),
    ] = None,
    lock: Annotated[Path, typer.Option(help="The lock file to replace.")] = LOCK_FILE,
) -> None:
    """Write a new lock of the versions that Debian and PyPI have now, and say what changed.

    With other versions results may differ, and so it is another laboratory: `testbed check golden
    --update` observes everything anew.
    """
    old = read_lock(lock)
    with err.status("asks apt for versions, and pip for wheels (a minute or two)"):
        new = new_lock(old, *_wanted(old, package or []), _hosts_requirements())
    lock.write_text(new.to_toml(), "utf-8")
    read_lock.cache_clear()
    _show(old, new)
    out.print(
        f"Wrote {short(lock)}; next: testbed kernel build, testbed check golden --update",
        markup=False,
    )


def _wanted(old: Lock, added: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the packages of Debian and the wheels, by name, that a new lock is to have."""
    wheels = {
        name.removeprefix(PYPI): file.version for name, file in old.files.items() if file.is_wheel
    }
    for name in wheels:
        try:
            wheels[name] = metadata.version(name)  # the host's part has it, too
        except metadata.PackageNotFoundError:
            continue
    wheels |= dict(name.split("==", 1) for name in added if "==" in name)
    engines = {program.apt for engine in ENGINES.values() for program in engine.programs}
    packages = {*transport_packages(), *engines, *TOOLS, *old.programs.values()}
    packages |= {name for name in added if "==" not in name}
    return sorted(packages - {"", BASE, *wheels}), wheels


def _hosts_requirements() -> list[str]:
    """Return the words by which pip installs what the host's part needs, in pinned versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [*project["dependencies"], "--constraint", str(ROOT / "constraints.txt")]


@image_app.command("diff")
def image_diff(
    one: Annotated[Path, typer.Argument(metavar="A", help="A lock file.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="Another lock file.")] = LOCK_FILE,
) -> None:
    """Say which packages differ between two locks.

    Example: testbed image diff /elsewhere/testbed/guest/image/lock.toml
    """
    _show(_read(one), _read(other))


def _read(path: Path) -> Lock:
    """Return the lock in a file.

    Raises:
        ScenarioError: There is no such file.
    """
    try:
        return read_lock(path)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}; expected a lock file") from None


@image_app.command("save")
def image_save(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The archive to write (.tar.gz).")],
    packages: Annotated[
        list[str] | None,
        typer.Argument(metavar="PACKAGE", help="Packages to fetch first, if they are not here."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that the lock has.")] = False,
) -> None:
    """Save kernel, image and the host's part, for machines without network, apt or Python.

    There, in a checkout of this version: ./lab image load FILE

    Example: testbed image save laboratory.tar.gz
    """
    plan = cells(load_scenario(DEMO))
    kernel, image = guest_kernel(*plan), our_image()
    wanted = [*image.lock.groups] if everything else (packages or [])
    with err.status("saves the laboratory") as status:
        for group in wanted:
            image.tree([group], report=status.update)
        programs = [path.parent for name in program_names() if (path := built(name)) is not None]
        save(image, [kernel.path.parent, *programs], file)
    out.print(f"Wrote {short(file)}, {file.stat().st_size / 1e6:.0f} MB", markup=False)


@image_app.command("load")
def image_load(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `image save` wrote.")],
) -> None:
    """Load a saved laboratory into this user's cache.

    Example: testbed image load laboratory.tar.gz
    """
    if not file.is_file():
        raise ImageError(f"there is no file {file}")
    with err.status("loads the laboratory"):
        fresh = load(file, user_cache())
    image, kernel = our_image(), cached_kernel()
    out.print(f"{len(fresh)} entries of {short(file)} are new in {user_cache()}.", markup=False)
    if kernel is None or image.missing([]):
        out.print("It is of another version of the testbed: this one needs another lab image.")


def _show(old: Lock, new: Lock) -> None:
    found = changes(old, new)
    table = Table(box=None, pad_edge=False)
    for heading in ("Package", f"{old.date}", f"{new.date}"):
        table.add_column(heading)
    for change in found:
        table.add_row(escape(change.name), escape(change.before), escape(change.after))
    if found:
        out.print(table)
    out.print(f"{len(found)} of {len({*old.files, *new.files})} packages differ.")


COMMAND = Command(Panel.LAB, image_app)
