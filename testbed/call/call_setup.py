"""Set up one end of a call, as a state machine driven by datagrams and time."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.call.dialects import Dialect, Stage


class Setup:
    """Runs a dialect's exchanges one after another; the caller provides sockets and time.

    All times are in seconds on the same clock. Call `due` at `next_at` for what to send, and pass
    each datagram that arrives to `receive`.
    """

    def __init__(self, dialect: Dialect, began_at: float, connect_timeout_s: float) -> None:
        self.connected_at: float | None = None
        self.failed_at: float | None = None
        self._dialect = dialect
        self.deadline = began_at + connect_timeout_s
        """When the set-up fails if this end is not connected by then (s)."""
        self._steps = list(dialect.steps())
        self._wait_s = 0.0
        self._repeat_at = began_at
        self._begin_step(began_at)

    @property
    def next_at(self) -> float:
        """When `due` must be called next (s)."""
        return min(self._repeat_at, self.deadline)

    @property
    def step(self) -> str:
        """The name of the current exchange, to print."""
        return self._steps[0].name

    @property
    def stage(self) -> Stage:
        """How far this end has got."""
        return self._steps[0].stage if self._steps else Stage.CHECKED

    @property
    def done(self) -> bool:
        """Whether this end is connected or has failed."""
        return self.connected_at is not None or self.failed_at is not None

    def due(self, now: float) -> Sequence[bytes]:
        """Return the datagrams to send now; after the deadline the set-up fails."""
        if self.done:
            return ()
        if now >= self.deadline:
            self.failed_at = now
            return ()
        if now < self._repeat_at:
            return ()
        step = self._steps[0]
        self._repeat_at = now + self._wait_s
        self._wait_s *= step.backoff
        return () if step.request is None else (step.request,)

    def receive(self, datagram: bytes, now: float) -> Sequence[bytes]:
        """Process a datagram, and return the datagrams to send at once in response.

        The other end's requests are answered even if this end is already connected.
        """
        answer = self._dialect.answer(datagram)
        replies = [] if answer is None else [answer]
        if self.done:
            return replies
        # An answer may come before its turn: the callee only waits for the other end's last flight.
        under_way = self._steps[0]
        self._steps = [step for step in self._steps if not step.is_answer(datagram)]
        if not self._steps:
            self.connected_at = now
        elif self._steps[0] is not under_way:
            self._begin_step(now)
            replies += self.due(now)
        return replies

    def _begin_step(self, now: float) -> None:
        self._wait_s = self._steps[0].repeat_s
        self._repeat_at = now
