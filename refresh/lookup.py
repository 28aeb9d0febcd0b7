"""Serving the current table in process: memory-mapped, swapped while it is read, never half of two versions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Hashable

import numpy as np

from refresh.served_table import DENSE_CELLS, BatchAnswer, Histories, LookupAnswer, ServedTable
from refresh.table import TransitionTable
from refresh.table_rows import Int32s
from refresh.table_store import TableStore
from tidegate.clock import Clock, SystemClock
from tidegate.errors import TableUnavailableError, TidegateError

_LOG = logging.getLogger(__name__)
_POINTER_UNREAD = object()


class Lookup:
    """The current version, followed as it moves.

    A new version is verified before it serves. One that is corrupt is logged and counted once, and the version
    before it goes on serving.

    Parameters
    ----------
    store : TableStore
    check_every_ms : int
        The pointer is looked at no more often than this (one `stat`, or one listing of a bucket); the call that finds
        it moved loads the version.
    clock : Clock, optional
    on_swap : (int) -> None, optional
        Told each version that begins to serve.
    on_rejected : (TidegateError) -> None, optional
        Told each version that could not.
    dense_cells : int
        See `ServedTable`.
    busy_share : float
        Share of the time that loading a further version may take of a core, so that answers are hardly held up.

    Attributes
    ----------
    n_rejected : int
        Times that a version could not serve.
    rejected : TidegateError or None
        Why the version that the pointer names does not serve, if it does not.
    """

    def __init__(
        self,
        store: TableStore,
        check_every_ms: int = 1_000,
        clock: Clock | None = None,
        *,
        on_swap: Callable[[int], None] | None = None,
        on_rejected: Callable[[TidegateError], None] | None = None,
        dense_cells: int = DENSE_CELLS,
        busy_share: float = 1.0,
    ) -> None:
        self._store = store
        self._busy_share = busy_share
        self._monotonic_seconds = (clock or SystemClock()).monotonic_seconds
        self.check_every_ms = check_every_ms
        self._on_swap, self._on_rejected = on_swap, on_rejected
        self._dense_cells = dense_cells
        self._served = ServedTable(0, TransitionTable.empty(()))
        self._seen: Hashable = _POINTER_UNREAD
        self._swapping = threading.Lock()
        self._due_seconds = 0.0
        self.n_rejected = 0
        self.rejected: TidegateError | None = None
        self._rejected_version: TidegateError | None = None
        nobody = np.zeros(0, dtype=np.int32)
        self._served.many(nobody, nobody)  # compiles the kernels before anybody waits for an answer
        self._served.many_ranked(nobody, nobody, 1, Histories.of([]))
        self.poll()

    @property
    def version(self) -> int:
        """Version that serves now, 0 before the first."""
        return self._served.version

    def snapshot(self) -> ServedTable:
        """Version to ask; hold it where several answers must agree. Looks at the pointer when that is due."""
        if self._monotonic_seconds() >= self._due_seconds:
            self.poll()
        return self._served

    def one(self, c1: int, c2: int, n: int = 1, exclude: Collection[int] = ()) -> LookupAnswer:
        """Answer one pair: see `ServedTable.one`."""
        return self.snapshot().one(c1, c2, n, exclude)

    def many(self, c1: Int32s, c2: Int32s) -> BatchAnswer:
        """Answer many pairs with the best cluster each: see `ServedTable.many`."""
        return self.snapshot().many(c1, c2)

    def one_named(self, name1: str, name2: str, n: int = 1, exclude: Collection[str] = ()) -> tuple[str, ...]:
        """Answer a pair of names with names: see `ServedTable.one_named`."""
        return self.snapshot().one_named(name1, name2, n, exclude)

    def poll(self) -> bool:
        """Look at the pointer now, and swap if it has moved; returns whether another version serves now.

        Of several threads one looks; the others go on with the version they have.
        """
        if not self._swapping.acquire(blocking=False):
            return False
        try:
            self._due_seconds = self._monotonic_seconds() + self.check_every_ms / 1_000
            return self._follow_pointer()
        except (OSError, TableUnavailableError) as error:  # such as too many open files, or a bucket that is away
            self._reject_for_now(error)
            return False
        finally:
            self._swapping.release()

    def _follow_pointer(self) -> bool:
        seen = self._store.pointer_state()
        if seen == self._seen:
            self.rejected = self._rejected_version
            return False
        try:
            is_new = self._swap()
            self._rejected_version = self.rejected = None
        except (OSError, TableUnavailableError):
            raise
        except TidegateError as error:
            self._reject(error)
            self._rejected_version = error
            is_new = False
        self._seen = seen
        return is_new

    def _swap(self) -> bool:
        version = self._store.current()
        if version is None or version == self.version:
            return False
        busy_share = self._busy_share if self.version else 1.0  # nobody is answered before the first
        table = self._store.load(version, busy_share=busy_share)
        self._served = ServedTable(version, table, self._dense_cells)
        _LOG.info("table version %d serves", version)
        if self._on_swap is not None:
            self._on_swap(version)
        return True

    def _reject_for_now(self, error: OSError | TableUnavailableError) -> None:
        """Say once what may pass; the pointer stays unread, so that the next look tries again."""
        if isinstance(error, OSError):
            error = TableUnavailableError(f"the version cannot be read ({error})", "It is tried again by itself")
        if str(error) != str(self.rejected):
            self._reject(error)

    def _reject(self, error: TidegateError) -> None:
        self.n_rejected += 1
        self.rejected = error
        _LOG.error("table version %d goes on serving: %s", self.version, error)
        if self._on_rejected is not None:
            self._on_rejected(error)
