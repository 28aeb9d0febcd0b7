"""Wall-clock time behind a protocol, so that tests move it by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the shells ask the time of; the pure parts never do."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        ...

    def monotonic_seconds(self) -> float:
        """Seconds that never go back, for intervals only."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_seconds(self) -> float:
        """Seconds that never go back, for intervals only."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is moved.

    Examples
    --------
    >>> clock = ManualClock(now_ms=1_000)
    >>> clock.advance_ms(500)
    >>> clock.now_ms(), clock.monotonic_seconds()
    (1500, 1.5)
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Milliseconds that were set."""
        return self._now_ms

    def monotonic_seconds(self) -> float:
        """Seconds of the instant that was set."""
        return self._now_ms / 1_000

    def sleep(self, seconds: float) -> None:
        """Move on without waiting."""
        self._now_ms += round(seconds * 1_000)

    def advance_ms(self, delta_ms: int) -> None:
        """Move on by `delta_ms` milliseconds."""
        self._now_ms += delta_ms


def iso_utc(time_ms: int) -> str:
    """Write an instant as ISO 8601 in UTC, to the second where it is one.

    Examples
    --------
    >>> iso_utc(1_650_812_741_000)
    '2022-04-24T15:05:41Z'
    """
    instant = datetime.fromtimestamp(time_ms / 1_000, tz=UTC)
    return instant.isoformat(timespec="seconds" if time_ms % 1_000 == 0 else "milliseconds").replace("+00:00", "Z")
