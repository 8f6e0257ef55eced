"""Implement a token bucket, the arithmetic of policing."""


class TokenBucket:
    """Lets bytes pass at a rate with a burst and drops the rest; no queue (RFC 2697, colour-blind).

    Starts full. Over any window it passes at most `rate_bps / 8 * window + burst_bytes` bytes.
    """

    def __init__(self, rate_bps: float, burst_bytes: float) -> None:
        self._rate_bytes_per_s = rate_bps / 8
        self._burst_bytes = burst_bytes
        self._tokens_bytes = burst_bytes
        self._at: float | None = None

    def take(self, size_bytes: int, now: float) -> bool:
        """Take tokens for a packet; return whether there were enough. `now` (s) never decreases."""
        if self._at is not None:
            earned = (now - self._at) * self._rate_bytes_per_s
            self._tokens_bytes = min(self._burst_bytes, self._tokens_bytes + earned)
        self._at = now
        if size_bytes > self._tokens_bytes:
            return False
        self._tokens_bytes -= size_bytes
        return True
