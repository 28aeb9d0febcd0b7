"""When a pane may be counted: once it is known what serves in it, or when waiting for that has taken too long.

A pane is scored by the table that the pane before left, so a worker that reads faster than decisions are made waits
at the pane's beginning; then replaying a log gives the same hit rates as living through it. Waiting is bounded: counts
do not depend on what serves, and counting must not stop because a controller did.
"""

from __future__ import annotations

from typing import Protocol

from stream.predictions import Predictions, no_predictions
from tidegate.clock import Clock


class Verdicts(Protocol):
    """What became of the panes that were closed."""

    def first_pane(self) -> int | None:
        """Tell the pane in which the run begins, once that is sure."""
        ...

    def after(self, pane: int) -> Predictions | None:
        """Give what serves after `pane`; None where that is not decided yet."""
        ...

    def latest(self) -> Predictions:
        """Give what serves as far as is known."""
        ...


class PatientGate:
    """The gate of a worker's shards.

    Parameters
    ----------
    patience_seconds : float    how long a shard waits at a pane; 0 never waits

    Examples
    --------
    >>> from tidegate.clock import ManualClock
    >>> class Undecided:
    ...     first_pane = lambda self: 3
    ...     after = lambda self, pane: None
    ...     latest = lambda self: no_predictions()
    >>> clock = ManualClock()
    >>> gate = PatientGate(Undecided(), clock, patience_seconds=60)
    >>> gate.predictions(0, 3) is None, gate.predictions(0, 4) is None
    (False, True)
    >>> clock.sleep(60)
    >>> gate.predictions(0, 4) is None
    False
    """

    def __init__(self, verdicts: Verdicts, clock: Clock, patience_seconds: float) -> None:
        self._verdicts, self._clock, self._patience_seconds = verdicts, clock, patience_seconds
        self._waiting_since: dict[tuple[int, int], float] = {}

    def predictions(self, shard: int, pane: int) -> Predictions | None:
        """Give what scores `pane`, or None while it is worth waiting for."""
        if not self._patience_seconds:
            return self._verdicts.latest()
        first_pane = self._verdicts.first_pane()
        found = no_predictions() if first_pane is not None and pane <= first_pane else self._verdicts.after(pane - 1)
        if found is not None:
            self._waiting_since = {key: since for key, since in self._waiting_since.items() if key[0] != shard}
            return found
        since = self._waiting_since.setdefault((shard, pane), self._clock.monotonic_seconds())
        if self._clock.monotonic_seconds() - since < self._patience_seconds:
            return None
        return self._verdicts.latest()
