"""Makes what an attack may touch, and finds out whether it had an effect.

Each attack gets an arena of its own: a folder that stands for the user's files, services and
sockets that stand for the user's, and a process to be the victim. Attacks act on nothing else.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from testbed.record.left_files import settle
from testbed.tools.isolation.attacks import Attack, Effect, Target

_READING_LIMIT_S = 3.0
_STORED_BYTES = 1 << 30
_SEGMENT_BYTES = 4096
_NOTHING = "nothing"
_READER = "testbed.tools.isolation.aftermath"
_libc = ctypes.CDLL(None, use_errno=True)

Found = tuple[str, int, int, int, bytes]


@dataclass(frozen=True)
class Arena:
    """One attack's surroundings."""

    folder: Path
    target: Target
    victim: subprocess.Popen[bytes]
    listening: Sequence[socket.socket]
    receiving: Sequence[socket.socket]
    answered: threading.Event
    """Set when somebody listened at the port at which nobody should."""
    before: Sequence[Found]
    """What was in the user's folder."""

    @property
    def job(self) -> Path:
        """The folder of the attack's job."""
        return self.folder / "job"

    def begin(self, attack: Attack) -> None:
        """Write into the job's folder what is to be tried."""
        task = {**asdict(self.target), "attack": attack.name}
        del task["job"], task["host"]
        (self.job / "attack.json").write_text(json.dumps(task))

    def succeeded(self, attack: Attack, *, careful: bool) -> bool:
        """Return whether an attack that has ended had its effect.

        With `careful`, what it left is read as the runner reads it, otherwise as any program would.
        """
        if attack.effect == "left":
            return self._misleads(careful=careful)
        judge: Mapping[Effect, Callable[[], bool]] = {
            "changed": self._is_changed,
            "learnt": self._loot_has_token,
            "reached": self._is_reached,
            "hurt": self._is_hurt,
            "outlived": self._lives,
            "stored": self._is_large,
        }
        return judge[attack.effect]()

    def _is_changed(self) -> bool:
        return _content(Path(self.target.private)) != self.before

    def _is_reached(self) -> bool:
        return self.answered.is_set() or self._has_arrived()

    def _lives(self) -> bool:
        return self._loot_has_token() and _is_locked(self.job / "alive")

    def _is_large(self) -> bool:
        return any(path.lstat().st_size > _STORED_BYTES for path in self.job.iterdir())

    def _loot_has_token(self) -> bool:
        with suppress(OSError):
            return self.target.token.encode() in (self.job / "loot").read_bytes()
        return False

    def _has_arrived(self) -> bool:
        for server in self.listening:
            with suppress(BlockingIOError):
                server.accept()[0].close()
                return True
        for receiver in self.receiving:
            with suppress(BlockingIOError):
                receiver.recv(100)
                return True
        return False

    def _is_hurt(self) -> bool:
        process = Path("/proc") / str(self.victim.pid)
        if self.victim.poll() is not None:
            return True
        state, _, _, *fields = (process / "stat").read_text().rpartition(")")[2].split()
        nice = int(fields[13])
        score = (process / "oom_score_adj").read_text().strip()
        return state in "Tt" or nice == 17 or score == "777"

    def _misleads(self, *, careful: bool) -> bool:
        """Return whether whoever reads, writes and removes files in the job's folder is misled."""
        manner = "careful" if careful else "plain"
        reader = [sys.executable, "-m", _READER, manner, str(self.job), self.target.token]
        try:
            done = subprocess.run(
                reader, capture_output=True, text=True, timeout=_READING_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return True  # it waits for what never comes
        return self._is_changed() or done.stdout.strip() != _NOTHING


@contextmanager
def arena() -> Iterator[Arena]:
    """Make an arena, and remove it at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="isolation-")))
        folder.chmod(0o755)
        stack.callback(_clear, folder / "job")
        token = f"token-{os.urandom(8).hex()}"
        private = folder / "private"
        _fill(folder, private, token)
        shared = Path("/dev/shm") / f"isolation-{os.urandom(8).hex()}"
        shared.write_text(token)
        stack.callback(shared.unlink, missing_ok=True)
        victim = stack.enter_context(_victim(token))
        listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        listening += [_bound(f"\0{token}"), _bound(str(private / "socket"))]
        receiving = [_receiver("", socket.AF_INET), _receiver(str(private / "mconsole"))]
        stack.callback(_close, [*listening, *receiving])
        for each in (*listening, *receiving):
            each.setblocking(False)
        free = listening.pop(1)
        free_port = int(free.getsockname()[1])
        free.close()
        segment = _segment(token.encode())
        stack.callback(_libc.shmctl, segment, 0, None)
        target = Target(
            job=Path(),
            private=str(private),
            shared_memory=str(shared),
            victim=victim.pid,
            tcp_port=int(listening[0].getsockname()[1]),
            udp_port=int(receiving[0].getsockname()[1]),
            free_port=free_port,
            abstract=token,
            segment=segment,
            token=token,
        )
        answered = stack.enter_context(_caller(free_port))
        stack.callback(_unmount, private)
        yield Arena(folder, target, victim, listening, receiving, answered, _content(private))


def _fill(folder: Path, private: Path, token: str) -> None:
    (folder / "job").mkdir()
    for inner in (private, private / "folder", private / "other-job"):
        inner.mkdir()
    for name in ("file", "secret", "other-job/record", token):
        (private / name).write_text(token)
    (private / "secret").chmod(0o600)


@contextmanager
def _victim(token: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], env={"PATH": os.defpath, "TOKEN": token}) as process:
        try:
            yield process
        finally:
            process.kill()


def _bound(name: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(name)
    server.listen()
    return server


def _receiver(name: str, family: int = socket.AF_UNIX) -> socket.socket:
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.bind(name or ("127.0.0.1", 0))
    return receiver


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()


@contextmanager
def _caller(port: int) -> Iterator[threading.Event]:
    """Connect to a port again and again; the event is set when somebody listens there."""
    answered, over = threading.Event(), threading.Event()

    def call() -> None:
        while not over.wait(0.02):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                answered.set()

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield answered
    finally:
        over.set()
        thread.join()


def _segment(content: bytes) -> int:
    """Make a shared memory segment with a content; return its number."""
    _libc.shmat.restype = ctypes.c_void_p
    number: int = _libc.shmget(0, ctypes.c_size_t(_SEGMENT_BYTES), 0o1600)
    place = _libc.shmat(number, None, 0)
    ctypes.memmove(place, content, len(content))
    _libc.shmdt(ctypes.c_void_p(place))
    return number


def _unmount(folder: Path) -> None:
    """Remove what an attack mounted over a folder."""
    if folder.is_mount():
        _libc.umount2(bytes(folder), 2)


def _content(folder: Path) -> list[Found]:
    """Return what is in a folder: names, modes, owners, times and contents."""
    found = []
    for path in (folder, *sorted(folder.rglob("*"))):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        times = 0 if path.is_dir() else state.st_mtime_ns
        found.append((str(path), state.st_mode, state.st_uid, times, content))
    return found


def _clear(job: Path) -> None:
    """Remove from a job's folder what hinders its removal."""
    with suppress(FileNotFoundError):
        settle(job)


def _is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
