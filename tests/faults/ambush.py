"""Faults at a chosen instant: a process sends itself a signal when it comes to its k-th write of the store.

Outside, a signal lands wherever the process happens to be, most often where it waits. An ambush lands where it hurts:
before a transaction, inside it with everything written, or right after it. Both sides share twelve bytes of a file.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


class Ambush:
    """A countdown of points, and the signal at its end.

    Parameters
    ----------
    path : file that both processes map; made if it is not there
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(12))
        with path.open("r+b") as file:
            self._cells = np.frombuffer(mmap.mmap(file.fileno(), 12), np.int32)

    def lay(self, signal_number: int, n_points: int, *, at_the_door: bool = False) -> None:
        """Send `signal_number` at the point number `n_points` from now, `at_the_door` at one before a write."""
        self._cells[1], self._cells[2] = signal_number, at_the_door
        self._cells[0] = n_points

    def lift(self) -> None:
        """Let it pass after all."""
        self._cells[0] = 0

    def point(self, *, is_door: bool = False) -> None:
        """Pass a point."""
        if self._cells[0] > 0 and (is_door or not self._cells[2]):
            self._cells[0] -= 1
            if self._cells[0] == 0:
                os.kill(os.getpid(), int(self._cells[1]))


def watch_writes(ambush: Ambush) -> None:
    """Have this process pass a point before, inside and after each write of the store."""
    from stream.database import Database

    original = Database.writing

    @contextmanager
    def writing(self: Database) -> Iterator[Any]:
        ambush.point(is_door=True)
        with original(self) as connection:
            yield connection
            ambush.point()
        ambush.point()

    Database.writing = writing  # type: ignore[method-assign]
