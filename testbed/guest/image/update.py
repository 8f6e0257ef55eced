"""Writes a new lock of the lab image, of the versions that a suite's mirror has today.

apt resolves what packages depend on, with a configuration and a state of its own: neither the
host's sources nor its installed packages matter. It needs apt and Debian's keys
(debian-archive-keyring), so it runs on Debian and Ubuntu; using a lock does not need them.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path
from tempfile import TemporaryDirectory

from testbed.guest.image.archives import unpack_package
from testbed.guest.image.lock import BASE, HOST, KERNEL, PYPI, ImageError, Lock, LockedFile
from testbed.guest.image.mirror import fetch, mirrors, pip_download

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_BASE_PACKAGES = (
    *("coreutils", "dash", "grep", "libc-bin", "nftables"),
    *("python3", "python3-netfilterqueue", "tcpdump"),
)
_BASE_WHEELS = (
    *("attrs", "cffi", "cryptography", "h11", "idna", "mininet", "outcome", "pycparser"),
    *("pyroute2", "sniffio", "sortedcontainers", "trio"),
)
"""What cells import. Their versions are those of the host's part (constraints.txt)."""
_OF_WHEELS = {"ntgcalls": ("libstdc++6",)}
"""The packages with the libraries that wheels expect of their system."""
_KERNEL_PACKAGES = (
    *("bash", "bc", "binutils", "bison", "diffutils", "findutils", "flex", "gcc", "grep", "gzip"),
    *("libc6-dev", "linux-source-6.12", "make", "mawk", "patch", "perl-base", "sed", "tar"),
    "xz-utils",
)
_OWN_GROUPS = {BASE: _BASE_PACKAGES, KERNEL: _KERNEL_PACKAGES}
SPEECH = "pocketsphinx-testdata"
"""The package with what is said in calls."""
TOOLS = ("iputils-ping", SPEECH)
"""Packages that no transport and no engine needs: for tests of guests, and what calls say."""
_SOURCES = """\
Types: deb
URIs: {mirror}
Suites: {suite}
Components: main
Architectures: amd64
Signed-By: {keyring}
"""
_CONFIGURATION = """\
Dir "{folder}";
Dir::Bin "/usr/bin";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc "{folder}/etc";
Dir::Etc::sourcelist "{folder}/etc/image.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Debug::NoLocking "true";
"""
_INSTALLS = re.compile(r"^Inst (\S+) \((\S+) ", re.MULTILINE)


def new_lock(
    old: Lock,
    packages: Iterable[str],
    wheels: Mapping[str, str],
    hosts: Sequence[str],
    *,
    suite: str = SUITE,
) -> Lock:
    """Return a lock of today's versions, with a group for each package and wheel.

    `wheels` has the versions of PyPI's packages by name, those of the base included; `hosts` are
    the words by which pip installs what the host's part needs. What `old` has of the same versions
    is not fetched again.

    Raises:
        ImageError: apt, pip or the mirror failed, or something is not to be had.
    """
    with TemporaryDirectory(prefix="image-") as scratch:
        apt = Apt(Path(scratch), suite)
        groups = {name: apt.closure(roots) for name, roots in _OWN_GROUPS.items()}
        groups |= {name: apt.closure([name]) for name in packages}
        groups |= {name: apt.closure(roots) for name, roots in _OF_WHEELS.items()}
        base = groups[BASE]
        own = {name: base if name == BASE else found - base for name, found in groups.items()}
        files = apt.describe(set().union(*own.values()))
        found = _wheels(old, wheels, Path(scratch))
        ours = _hosts_wheels(hosts, Path(scratch))
        owners = {name: name for name in packages} | dict.fromkeys(base, BASE)
        programs = _programs(old, owners, files, Path(scratch))
    own[BASE] |= {PYPI + name for name in _BASE_WHEELS}
    for name in wheels:
        if name not in _BASE_WHEELS:
            own[name] = {PYPI + name, *own.get(name, ())}
    own[HOST] = {SPEECH, *(name for name in ours if name not in own[BASE])}
    return Lock(
        suite,
        datetime.now(UTC).date().isoformat(),
        {name: tuple(sorted(group)) for name, group in own.items()},
        programs,
        {**files, **ours, **found},
    )


class Apt:
    """apt with a folder of its own for all that it keeps and reads."""

    def __init__(self, folder: Path, suite: str) -> None:
        if not KEYRING.is_file():
            raise ImageError(
                f"there is no {KEYRING}, by which apt checks the mirror: apt install "
                "debian-archive-keyring"
            )
        for name in ("etc", "state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        source = _SOURCES.format(mirror=mirrors()[0], suite=suite, keyring=KEYRING)
        (folder / "etc" / "image.sources").write_text(source)
        configuration = folder / "apt.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder))
        self._environment = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C"}
        self._versions: dict[str, str] = {}
        self._run("apt-get", "update")

    def closure(self, roots: Sequence[str]) -> set[str]:
        """Return the names of the packages that the roots need, themselves included."""
        printed = self._run("apt-get", "--simulate", "install", *roots)
        found = dict(_INSTALLS.findall(printed))
        self._versions.update(found)
        return set(found)

    def describe(self, names: set[str]) -> dict[str, LockedFile]:
        """Return the files of packages that are in a closure."""
        asked = [f"{name}={self._versions[name]}" for name in sorted(names)]
        stanzas = self._run("apt-cache", "show", *asked).strip().split("\n\n")
        return {file.name: file for file in map(_described, stanzas)}

    def _run(self, *command: str) -> str:
        try:
            done = subprocess.run(
                command, env=self._environment, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise ImageError(f"the lock of the lab image is made with apt: {error}") from None
        if done.returncode != 0:
            raise ImageError(f"`{' '.join(command[:3])}` failed: {done.stderr.strip()[-1000:]}")
        return done.stdout


def _described(stanza: str) -> LockedFile:
    fields = Parser().parsestr(stanza, headersonly=True)
    return LockedFile(
        fields["Package"],
        fields["Version"],
        fields["Filename"],
        int(fields["Size"]),
        fields["SHA256"],
    )


def _wheels(old: Lock, versions: Mapping[str, str], scratch: Path) -> dict[str, LockedFile]:
    found = {}
    for name, version in sorted(versions.items()):
        if old.version_of(PYPI + name) == version:
            found[PYPI + name] = old.files[PYPI + name]
            continue
        folder = scratch / "wheels" / name
        folder.mkdir(parents=True)
        pip_download(["--no-deps", f"{name}=={version}"], folder)
        [wheel] = folder.iterdir()
        found[PYPI + name] = _locked(wheel)
    return found


def _hosts_wheels(requirements: Sequence[str], scratch: Path) -> dict[str, LockedFile]:
    """Return the wheels of the host's part, with all that they depend on."""
    folder = scratch / "host"
    folder.mkdir()
    pip_download(requirements, folder)
    return {file.name: file for file in map(_locked, sorted(folder.iterdir()))}


def _locked(wheel: Path) -> LockedFile:
    """Return a wheel's entry; its file is named `NAME-VERSION-TAGS.whl` (PEP 427)."""
    name, version, _ = wheel.name.split("-", 2)
    content = wheel.read_bytes()
    name = PYPI + re.sub(r"[-_.]+", "-", name).lower()
    return LockedFile(name, version, wheel.name, len(content), hashlib.sha256(content).hexdigest())


def _programs(
    old: Lock, owners: Mapping[str, str], files: Mapping[str, LockedFile], scratch: Path
) -> dict[str, str]:
    """Return the commands of packages, each with the group of its package (`owners`)."""
    same = {name for name in owners if old.files.get(name) == files[name]}
    kept = {owners[name] for name in same} - {owners[name] for name in set(owners) - same}
    found = {program: group for program, group in old.programs.items() if group in kept}
    wanted = [files[name] for name, group in owners.items() if group not in {*found.values()}]
    for file, archive in fetch(wanted, scratch, lambda _: None):
        folder = scratch / "unpacked" / file.name
        unpack_package(archive, folder)
        for path in folder.glob("usr/*bin/*"):
            found[path.name] = owners[file.name]
    return found
