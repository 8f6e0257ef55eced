"""Which source, which recipe, which key, and what the cache makes of damage."""

import io
import os
import shutil
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.guest.image.lock import KERNEL, read_lock
from testbed.guest.image.tree import our_image
from testbed.guest.kernel import builder, cache, source
from testbed.guest.kernel.builder import (
    KernelBuildError,
    build_kernel,
    check_machine,
)
from testbed.guest.kernel.cache import our_recipe, read_entry, store
from testbed.guest.kernel.source import KernelSource, find_source

HERE = Path(builder.__file__).parent
SOURCE = KernelSource(None, "locked 1")


@pytest.fixture
def recipe_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    shutil.copytree(HERE / "patches", folder / "patches")
    for name in ("options", "init.c", "launch.c"):
        shutil.copy(HERE / name, folder / name)
    return folder


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of kernels; the lab image is that of the user's cache."""
    image = our_image()
    monkeypatch.setattr(builder, "our_image", lambda: image)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    folder = cache.cache_folder()
    folder.mkdir(parents=True)
    return folder


def built(folder: Path) -> tuple[Path, Path]:
    """Return what a build leaves: a kernel, and the folder with the programs that belong to it."""
    for name in ("made", "init", cache.LAUNCHER):
        (folder / name).write_bytes(b"\x7fELF")
    return folder / "made", folder


def small_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_the_recipe_has_patches_in_order_with_licence_and_reason() -> None:
    patches = our_recipe().patches
    assert len(patches) >= 5
    for number, path in enumerate(patches, 1):
        text = path.read_text()
        assert path.name.startswith(f"{number:04d}-")
        assert "SPDX-License-Identifier: GPL-2.0" in text
        for part in ("Subject: ", "What: ", "Why: ", "Verified: ", "Upstream: "):
            assert part in text, (path.name, part)


@pytest.mark.parametrize(
    ("changed", "linux_too"),
    [
        ("options", True),
        ("init.c", False),
        ("launch.c", False),
        ("patches/0001-det-random.patch", True),
    ],
)
def test_the_key_changes_with_each_part_of_the_recipe(
    recipe_folder: Path, changed: str, linux_too: bool
) -> None:
    before = our_recipe(recipe_folder)
    assert before.key(SOURCE) == our_recipe(HERE).key(SOURCE)
    key, linux_key = before.key(SOURCE), before.linux_key(SOURCE)
    with (recipe_folder / changed).open("a") as file:
        file.write("CONFIG_X=y\n")
    after = our_recipe(recipe_folder)
    assert after.key(SOURCE) != key
    assert (after.linux_key(SOURCE) != linux_key) == linux_too


def test_words_alone_do_not_change_the_key(recipe_folder: Path) -> None:
    key = our_recipe(recipe_folder).key(SOURCE)
    patch = recipe_folder / "patches" / "0001-det-random.patch"
    patch.write_text(patch.read_text().replace("Why: ", "Why: well, "))
    with (recipe_folder / "options").open("a") as file:
        file.write("# more words\n")
    assert our_recipe(recipe_folder).key(SOURCE) == key


def test_another_init_needs_no_other_linux(empty_cache: Path, recipe_folder: Path) -> None:
    made, programs = built(empty_cache)
    recipe = our_recipe(recipe_folder)
    kernel = store(made, programs, version="6.12.117", recipe=recipe, source=SOURCE)
    with (recipe_folder / "init.c").open("a") as file:
        file.write("/* */\n")
    assert cache.same_linux(our_recipe(recipe_folder).linux_key(SOURCE)) == kernel
    with (recipe_folder / "options").open("a") as file:
        file.write("CONFIG_X=y\n")
    assert cache.same_linux(our_recipe(recipe_folder).linux_key(SOURCE)) is None


def test_the_key_changes_with_a_patch_more_or_less_and_with_the_source(recipe_folder: Path) -> None:
    keys = {our_recipe(recipe_folder).key(SOURCE)}
    keys.add(our_recipe(recipe_folder).key(KernelSource(None, "locked 2")))
    (recipe_folder / "patches" / "9999-more.patch").write_text("")
    keys.add(our_recipe(recipe_folder).key(SOURCE))
    (recipe_folder / "patches" / "9999-more.patch").unlink()
    (recipe_folder / "patches" / "0008-fault-around.patch").unlink()
    keys.add(our_recipe(recipe_folder).key(SOURCE))
    assert len(keys) == 4


def test_a_source_is_known_by_its_compiler_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another compiler of the lab image makes another kernel."""
    lock = read_lock()
    tar = small_tar(tmp_path / "linux.tar.gz", {})
    gcc = next(name for name in lock.groups[KERNEL] if name.startswith("gcc-"))
    other = replace(lock, files={**lock.files, gcc: replace(lock.files[gcc], sha256="0" * 64)})
    before = find_source().identity, find_source(tar).identity
    monkeypatch.setattr(source, "read_lock", lambda: other)
    after = find_source().identity, find_source(tar).identity
    assert len({*before, *after}) == 4


@pytest.mark.parametrize("name", ["nothing", "kernel.zip"])
def test_an_unusable_source_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "kernel.zip").write_bytes(b"")
    with pytest.raises(KernelBuildError, match=name):
        find_source(tmp_path / name)


def test_a_stored_kernel_is_found_and_a_damaged_one_is_not(empty_cache: Path) -> None:
    made, programs = built(empty_cache)
    recipe = our_recipe()
    kernel = store(made, programs, version="6.12.117", recipe=recipe, source=SOURCE)
    entry = kernel.path.parent
    assert kernel == read_entry(entry)
    assert (kernel.key, kernel.version) == (recipe.key(SOURCE), "6.12.117")
    assert os.access(kernel.path, os.X_OK)
    assert os.access(kernel.init, os.X_OK)
    for damage in (
        lambda: kernel.path.write_bytes(b"\x7f"),
        kernel.init.unlink,
        kernel.launcher.unlink,
        lambda: (entry / "kernel.json").write_text("{"),
        lambda: (entry / "kernel.json").write_text("[]"),
    ):
        store(made, programs, version="6.12.117", recipe=recipe, source=SOURCE)
        damage()
        assert read_entry(entry) is None
    store(made, programs, version="6.12.117", recipe=recipe, source=SOURCE)
    kernel.path.chmod(0o644)
    assert read_entry(entry) == kernel
    assert os.access(kernel.path, os.X_OK)


def test_an_interrupted_store_is_swept_away(empty_cache: Path) -> None:
    (empty_cache / "new-x").mkdir()
    (empty_cache / "new-x" / "file").write_bytes(b"")
    with cache.locked_cache(lambda: pytest.fail("nobody else builds")):
        assert sorted(path.name for path in empty_cache.iterdir()) == ["lock"]


def test_a_second_builder_waits_for_the_first(empty_cache: Path) -> None:
    order: list[str] = []
    first_may_end = threading.Event()

    def second() -> None:
        with cache.locked_cache(first_may_end.set):
            order.append("second")

    with cache.locked_cache(lambda: pytest.fail("nobody else builds")):
        thread = threading.Thread(target=second)
        thread.start()
        assert first_may_end.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert [path.name for path in empty_cache.iterdir()] == ["lock"]


def test_a_machine_that_cannot_build_it_gets_an_error() -> None:
    with pytest.raises(KernelBuildError, match="x86_64 only"):
        check_machine(machine="aarch64")


def test_a_source_that_the_patches_do_not_fit_is_an_error(
    empty_cache: Path, tmp_path: Path
) -> None:
    makefile = b"VERSION = 6\nPATCHLEVEL = 8\nSUBLEVEL = 0\n"
    tar = small_tar(tmp_path / "linux-source-6.8.0.tar.gz", {"linux-6.8/Makefile": makefile})
    stages: list[str] = []
    with pytest.raises(KernelBuildError, match=r"0001-.* does not apply to Linux 6\.8\.0") as error:
        build_kernel(tar, progress=lambda stage, _share: stages.append(stage))
    assert "6.12.117" in str(error.value)
    assert sorted(set(stages)) == ["extract", "patch"]
    assert sorted(path.name for path in empty_cache.iterdir()) == ["build.log", "lock"]


def test_a_damaged_source_is_an_error(empty_cache: Path, tmp_path: Path) -> None:
    tar = tmp_path / "linux-source-6.12.tar.gz"
    tar.write_bytes(b"this is no tar file")
    with pytest.raises(KernelBuildError, match=r"cannot unpack .*linux-source-6\.12\.tar\.gz"):
        build_kernel(tar, progress=lambda _stage, _share: None)
    assert sorted(path.name for path in empty_cache.iterdir()) == ["build.log", "lock"]


def test_a_source_tree_is_copied_and_stays_as_it_is(empty_cache: Path, tmp_path: Path) -> None:
    tree = tmp_path / "my linux"
    tree.mkdir()
    (tree / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 200\n")
    with pytest.raises(KernelBuildError, match=r"does not apply to Linux 6\.12\.200"):
        build_kernel(tree, progress=lambda _stage, _share: None)
    assert [path.name for path in tree.iterdir()] == ["Makefile"]
    assert not list(empty_cache.glob("*/kernel.json"))


def test_a_build_is_not_swept_away_by_one_for_another_cache(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with builder.build_folder(first) as ours:
        with builder.build_folder(second) as theirs:
            assert ours.is_dir()
            assert ours != theirs
        assert ours.is_dir()
        assert not theirs.exists()
    assert not ours.exists()


def test_a_folder_left_by_an_interrupted_build_is_swept_away(tmp_path: Path) -> None:
    with builder.build_folder(tmp_path) as left, builder.build_folder(tmp_path) as ours:
        assert not left.exists()
        assert ours.is_dir()
