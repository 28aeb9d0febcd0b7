"""How fast a peer runs once it runs: wall and CPU time between two of its records, without its start.

Runs in the peers' environment too: nothing outside the standard library.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

WARM_UP_SHARE = 0.1
"""Share of the messages that is processed before the clock starts: compilers, caches and buffers are warm then."""
FIGURES = "figures.json"


@dataclass(slots=True)
class Meter:
    """Measures this process, all its threads, from the end of the warm-up to its last message.

    Parameters
    ----------
    n_messages : int      how many there are

    Attributes
    ----------
    n_done : int          processed so far
    """

    n_messages: int
    n_done: int = 0
    _n_before: int = 0
    _started: tuple[float, float] | None = field(default=None)
    _ended: tuple[float, float] | None = field(default=None)

    def advance(self, n: int = 1) -> bool:
        """Tell that `n` more messages are processed; returns whether all are."""
        self.n_done += n
        if self._started is None and self.n_done >= self.n_messages * WARM_UP_SHARE:
            self._n_before, self._started = self.n_done, _now()
        if self.n_done < self.n_messages:
            return False
        self.end()
        return True

    def end(self) -> None:
        """Set the end to now, for work that goes on after the last message."""
        self._ended = _now()

    def write(self, folder: Path) -> None:
        """Write ``figures.json``.

        Raises
        ------
        RuntimeError
            If not all messages were processed.
        """
        if self._started is None or self._ended is None:
            raise RuntimeError(f"{self.n_done} of {self.n_messages} messages were processed")
        wall, cpu = (end - start for start, end in zip(self._started, self._ended, strict=True))
        figures = {"messages": self.n_done - self._n_before, "wall_seconds": wall, "cpu_seconds": cpu}
        (folder / FIGURES).write_text(json.dumps(figures))


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
