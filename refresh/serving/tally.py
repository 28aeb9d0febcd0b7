"""How often the service was asked and what it answered, counted where all processes of a service can see it.

Each process counts into a row of its own, so nothing is locked; whoever is asked for metrics adds the rows up. Counting
one answer takes about a third of a microsecond.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from pathlib import Path

from tidegate.contracts import ANSWER_BOUNDS_SECONDS, ServiceFigures

ROUTES = ("next", "batch", "other")
OUTCOMES = ("answered", "refused", "unready", "failed")
LEVELS = ("none", "backoff", "pair")

_N_REQUESTS = len(ROUTES) * len(OUTCOMES)
_LEVELS_AT = _N_REQUESTS
_BUCKETS_AT = _LEVELS_AT + len(LEVELS)
_NANOSECONDS_AT = _BUCKETS_AT + len(ANSWER_BOUNDS_SECONDS) + 1
_VERSION_AT, _SWAPS_AT, _REJECTED_AT = _NANOSECONDS_AT + 1, _NANOSECONDS_AT + 2, _NANOSECONDS_AT + 3
_WIDTH = _REJECTED_AT + 1
_STATUS = {200: 0, 503: 2, 500: 3}


class Tally:
    """Counts of one process, and the sum over all that share a file.

    Parameters
    ----------
    path : Path, optional
        A file of `file_bytes(n)`; without it the counts are this process's alone.
    row : int
        Which of the processes this is.

    Examples
    --------
    >>> tally = Tally()
    >>> tally.add("next", 200, seconds=0.0002)
    >>> tally.add_levels(pair=1)
    >>> tally.figures().requests["next", "answered"], tally.figures().pairs["pair"]
    (1, 1)
    """

    def __init__(self, path: Path | None = None, row: int = 0) -> None:
        if path is None:
            self._all = memoryview(bytearray(file_bytes(1))).cast("Q")
        else:
            with path.open("r+b") as file:
                self._all = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        self._own = self._all[row * _WIDTH : (row + 1) * _WIDTH]

    def add(self, route: str, status: int, *, seconds: float) -> None:
        """Count one answer by its status."""
        own = self._own
        own[ROUTES.index(route) * len(OUTCOMES) + _STATUS.get(status, 1)] += 1
        own[_BUCKETS_AT + bisect_left(ANSWER_BOUNDS_SECONDS, seconds)] += 1
        own[_NANOSECONDS_AT] += int(seconds * 1e9)

    def add_levels(self, *, pair: int = 0, backoff: int = 0, none: int = 0) -> None:
        """Count answered pairs by the level that their answer came from."""
        for at, n in enumerate((none, backoff, pair), _LEVELS_AT):
            if n:
                self._own[at] += n

    def swap(self, version: int) -> None:
        """Note the version that this process serves from now on."""
        self._own[_VERSION_AT] = version
        self._own[_SWAPS_AT] += 1

    def reject(self) -> None:
        """Count a version that could not serve."""
        self._own[_REJECTED_AT] += 1

    def figures(self) -> ServiceFigures:
        """Add all processes up."""
        rows = [self._all[at : at + _WIDTH].tolist() for at in range(0, len(self._all), _WIDTH)]
        total = [sum(column) for column in zip(*rows, strict=True)]
        return ServiceFigures(
            requests={
                (route, outcome): total[i * len(OUTCOMES) + k]
                for i, route in enumerate(ROUTES)
                for k, outcome in enumerate(OUTCOMES)
            },
            pairs=dict(zip(LEVELS, total[_LEVELS_AT:_BUCKETS_AT], strict=True)),
            buckets=tuple(total[_BUCKETS_AT:_NANOSECONDS_AT]),
            seconds=total[_NANOSECONDS_AT] / 1e9,
            versions=tuple(row[_VERSION_AT] for row in rows),
            swaps=total[_SWAPS_AT],
            rejected=total[_REJECTED_AT],
        )


def file_bytes(n_processes: int) -> int:
    """Size of the file that as many processes share."""
    return 8 * _WIDTH * n_processes
