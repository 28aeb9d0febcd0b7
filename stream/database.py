"""The database under a store: SQLite for one host, PostgreSQL for several.

Transactions are whole on both. In SQLite, readers do not wait for the writer and writers take turns; PostgreSQL runs
READ COMMITTED, and what must not change between a look and a write is locked or compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from stream.migrations import check_schema
from tidegate.errors import ConfigError, StoreError, StoreUnavailableError

_SQLITE_BUSY_SECONDS = 30
_CONNECT_SECONDS = 10
_READ_ONLY = "tidegate_read_only"
_ROWS_AT_ONCE = 1_000


class Database:
    """One database, with Tidegate's tables in it.

    Parameters
    ----------
    url : str or Path
        A path (SQLite), or ``postgresql://user@host/name``.

    Attributes
    ----------
    place : str     where it is, without its password

    Raises
    ------
    ConfigError
        If the URL names no database that is known.
    StoreUnavailableError
        If it cannot be reached.
    StoreError
        If it is no store, or of a newer version.
    """

    def __init__(self, url: str | Path) -> None:
        parsed = _url_of(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.place = str(parsed.database) if self.is_sqlite else parsed.render_as_string(hide_password=True)
        if self.is_sqlite:
            _make_folder(Path(str(parsed.database)).parent)
        self._engine = _sqlite_engine(parsed) if self.is_sqlite else _postgresql_engine(parsed)
        try:
            with self.writing() as connection:
                check_schema(connection, self.place)
        except StoreError:
            self.close()
            raise

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, committed at the end of the block; nothing of it happens if the block fails.

        Raises
        ------
        StoreUnavailableError
            If the database refuses for now (down, locked, disk full). Where the connection broke while committing,
            the transaction may have happened all the same: compare-and-set tells.
        StoreError
            If it refuses for good (damaged, not a store, no permission).
        """
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that only reads, and does not wait for writers; raises as `writing` does."""
        with self._translated(), self._engine.connect().execution_options(**{_READ_ONLY: True}) as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise StoreUnavailableError(
                f"the database refused: {_one_line(error)}",
                "Check that it runs and is reachable, free space and permissions",
                place=self.place,
            ) from error
        except DBAPIError as error:
            raise StoreError(
                f"the database refused: {_one_line(error)}",
                "Check free space and permissions, and that it is a Tidegate store",
                place=self.place,
            ) from error

    def close(self) -> None:
        """Release its connections; may be called twice."""
        self._engine.dispose()


def put_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, replacing those of the same primary key."""
    if not rows:
        return
    statement = _upsert(connection.dialect.name, table, tuple(rows[0]))
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        connection.execute(statement, list(rows[first : first + _ROWS_AT_ONCE]))


@cache
def _upsert(dialect: str, table: Table, columns: tuple[str, ...]) -> Executable:
    """Write the statement once: to build it takes longer than to run it."""
    insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    keys = [column.name for column in table.primary_key]
    return insert.on_conflict_do_update(
        index_elements=keys, set_={name: insert.excluded[name] for name in columns if name not in keys}
    )


def add_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> int:
    """Insert the rows whose keys are not there yet; returns how many were inserted."""
    insert = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    # PostgreSQL's driver forgets how many they were once the cursor is closed, unless it is asked at once.
    statement = insert.on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return sum(connection.execute(statement, row).rowcount for row in rows)


def _url_of(url: str | Path) -> URL:
    if isinstance(url, Path) or "://" not in url:
        return URL.create("sqlite", database=str(url))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(
            "the store's address is no URL", "Write postgresql://user@host/name", place="--store"
        ) from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(
            f"there is no store on {parsed.get_backend_name()}",
            "Give a file (SQLite) or postgresql://user@host/name",
            place="--store",
        )
    return parsed


def _one_line(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder cannot be made: {error.strerror}", "Choose another --home", place=str(folder)
        ) from error


def _postgresql_engine(url: URL) -> Engine:
    # Commits wait for the disk (synchronous_commit), or a crash of the server could take counts that Kafka thinks read.
    # A worker that hangs in the middle of a transaction must not hold its shard's row for ever.
    options = "-c synchronous_commit=on -c idle_in_transaction_session_timeout=60000"
    try:
        return create_engine(
            url,
            pool_pre_ping=True,
            pool_recycle=3_600,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "options": options, "application_name": "tidegate"},
        )
    except NoSuchModuleError as error:  # pragma: no cover - psycopg is a dependency
        raise ConfigError(str(error), "Install psycopg", place="--store") from error


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _SQLITE_BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: it would do so late, after the first read.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        # In WAL mode NORMAL survives a killed process whole; a power cut may take the last commits, offsets included.
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")

    return engine
