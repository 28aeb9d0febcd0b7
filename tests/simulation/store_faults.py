"""A store that fails in every way in which stores fail, over the real one.

A transaction can be refused before anything happened, be torn (the process dies, or the server hangs up, in the middle
of it: it is rolled back), or happen without the answer arriving. Around it, the process may die or be held up while
others go on. SQLite lets one writer in at a time, so transactions as a whole are what interleaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import Connection, event

from stream.database import Database
from stream.schema import metadata, store_info
from tidegate.errors import StoreUnavailableError


class SimulatedCrashError(BaseException):
    """The process that runs dies here, as `kill -9` would have it."""


class Fate(StrEnum):
    """What happens to a transaction."""

    WELL = "well"
    REFUSED = "refused"
    TORN = "torn write"
    HUNG_UP = "torn by the store"
    LOST_ANSWER = "lost answer"


class Faults(Protocol):
    """Who decides what goes wrong."""

    def point(self, where: str) -> None:
        """Mark an instant at which the running process may die or be held up."""
        ...

    def fate(self) -> Fate:
        """Decide on a transaction."""
        ...

    def is_store_away(self) -> bool:
        """Whether there is an outage now."""
        ...

    def n_statements(self) -> int:
        """Decide how many statements of a torn transaction are carried out."""
        ...

    def committed(self) -> None:
        """Look at what a transaction has left."""
        ...


class _TornError(Exception):
    """Stands for the end of a transaction's connection."""


@dataclass
class Disk:
    """The one database of a process, used by one world after the other."""

    database: Database = field(default_factory=lambda: Database(":memory:"))
    _countdown: int | None = None

    def __post_init__(self) -> None:
        event.listen(self.database._engine, "before_cursor_execute", self._count)

    def wipe(self) -> None:
        """Empty all tables."""
        self.disarm()
        with self.database.writing() as connection:
            for table in metadata.sorted_tables:
                if table is not store_info:
                    connection.execute(table.delete())

    def raw(self) -> Any:
        """Return the driver's connection, to look past all faults."""
        pooled = self.database._engine.raw_connection()
        try:
            return pooled.driver_connection
        finally:
            pooled.close()

    def arm(self, n_statements: int) -> None:
        """Tear the next transaction after so many statements."""
        self._countdown = n_statements

    def disarm(self) -> None:
        """Let transactions pass."""
        self._countdown = None

    def _count(self, *_: Any) -> None:
        if self._countdown is not None:
            self._countdown -= 1
            if self._countdown < 0:
                raise _TornError


class FaultyDatabase(Database):
    """One process's way to the store."""

    def __init__(self, disk: Disk, faults: Faults) -> None:
        self.is_sqlite, self.place, self._engine = True, "store", disk.database._engine
        self._disk, self._faults = disk, faults

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, with a fate of its own."""
        self._faults.point("before a transaction")
        self._refuse_if(self._faults.is_store_away())
        fate = self._faults.fate()
        self._refuse_if(fate is Fate.REFUSED)
        try:
            with super().writing() as connection:
                is_torn = fate in (Fate.TORN, Fate.HUNG_UP)
                if is_torn:
                    self._disk.arm(self._faults.n_statements())
                yield connection
                if is_torn:
                    raise _TornError  # all statements are through, the commit is not
        except _TornError:
            if fate is Fate.TORN:
                raise SimulatedCrashError from None
            self._refuse_if(True)
        finally:
            self._disk.disarm()
        self._faults.committed()
        self._refuse_if(fate is Fate.LOST_ANSWER)
        self._faults.point("after a transaction")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One look; the store may be away."""
        self._faults.point("before a look")
        self._refuse_if(self._faults.is_store_away())
        with super().reading() as connection:
            yield connection

    def _refuse_if(self, is_so: bool) -> None:
        if is_so:
            raise StoreUnavailableError("the simulated store refused", "Wait", place=self.place)
