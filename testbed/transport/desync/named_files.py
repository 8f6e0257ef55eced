"""Read the files that a command line names, or find what stands for those that are not here."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from random import Random

from testbed.transport.desync import values
from testbed.transport.desync.fakes import payload_of
from testbed.transport.desync.strategy import MESSENGERS, Fake, FakeKind, StrategyError

_INLINE = ("-domains", "-ip")
"""What the names of options end with whose value is the list itself."""
_BY_SCRIPT = ("HOSTLIST", "HOSTLIST_NOAUTO")
"""Placeholders in zapret's configuration, for lists that its start script fills in."""

_MADE: Mapping[FakeKind, str] = {
    "tls": "a ClientHello for",
    "quic": "a QUIC Initial for",
    "http": "a request for",
    "stun": "a STUN message",
    "bytes": "one of its kind",
}


class Lists:
    """The files of one command line, and what was said about them."""

    def __init__(self, read: values.ReadFile) -> None:
        self.notes: dict[str, None] = {}
        self.files: dict[str, None] = {}
        self._read = read

    def note(self, sentence: str) -> None:
        """Keep what a person must know; once."""
        self.notes[sentence] = None

    def read(self, file: str) -> bytes | None:
        """Return a file's content, or None."""
        content = self._read(file)
        if content is not None:
            self.files[file] = None
        return content

    def hosts(self, name: str, value: str | None, *, includes: bool) -> set[str]:
        """Return the domains of a list."""
        entries = self._entries(name, value, includes=includes)
        if entries is None:
            return {MESSENGERS} if includes else set()
        found = {entry.lower() for entry in entries}
        if includes and not any(entry.lstrip("^").endswith(MESSENGERS) for entry in found):
            self.note(f"--{name}={value} names no host of the lab (*.{MESSENGERS})")
        return found

    def networks(
        self, name: str, value: str | None, *, includes: bool
    ) -> tuple[tuple[IPv4Network, ...], bool]:
        """Return the networks of a list, and whether the lab's messengers stand for it."""
        entries = self._entries(name, value, includes=includes)
        if entries is None:
            return (), includes
        return values.networks(name, entries), False

    def _entries(self, name: str, value: str | None, *, includes: bool) -> list[str] | None:
        """Return a list's entries; None if its file is not here."""
        text = value or ""
        if name.endswith(_INLINE):
            return [entry.strip() for entry in text.split(",") if entry.strip()]
        content = None if text in _BY_SCRIPT else self.read(text)
        if content is None:
            stands = f"the lab's messengers stand for the list {_base(text)}"
            none = f"the list {_base(text)} is not here, so it excludes nothing"
            self.note(stands if includes else none)
            return None
        lines = content.decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def fake(self, name: str, value: str | None) -> Fake:
        """Return a fake with given bytes, those of a file, or one that stands for a known file.

        Raises:
            StrategyError: The file is neither here nor known.
        """
        content, file = values.blob(name, value, self.read)
        if content is not None:
            return Fake(content=content)
        made = values.stand_in(file)
        if made is None:
            raise StrategyError(
                f"--{name}: {file} is not here, and no fake of that name is known: without it, "
                "nothing could be sent in its place"
            )
        named = f" {made.name}" if made.kind in ("tls", "quic", "http") else ""
        self.note(f"{_base(file)} is not here: {_MADE[made.kind]}{named} is made")
        return made

    def content(self, name: str, value: str | None) -> bytes:
        """Return the bytes of a pattern, which may be a file as those of fakes.

        Raises:
            StrategyError: The file is neither here nor known.
        """
        fake = self.fake(name, value)
        return payload_of(fake, b"", Random(fake.name))


def _base(file: str) -> str:
    return file.replace("\\", "/").rsplit("/", 1)[-1]
