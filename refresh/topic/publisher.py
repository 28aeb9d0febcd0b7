"""Bringing the topic to the version that serves: only rows that differ from what the topic says are sent.

What was sent is known from the topic alone, so a crash anywhere, or another publisher, is answered by looking again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from refresh.table_manifest import Manifest
from refresh.table_store import TableStore
from refresh.topic.records import (
    MARK_KEY,
    TopicVersion,
    digest_text,
    mark_of,
    read_mark,
    read_row,
    row_digest,
    rows_of,
)
from tidegate.contracts import encode
from tidegate.errors import BrokerError

_LOG = logging.getLogger("tidegate.topic")
_MAX_ATTEMPTS = 3


class LogRecord(NamedTuple):
    """One record of the topic; no value deletes its key."""

    key: bytes
    value: bytes | None


class RowLog(Protocol):
    """The topic: one partition, so that its order is that of all rows."""

    name: str

    def read_on(self) -> Iterable[LogRecord] | None:
        """Read what has come since the last call, up to the end; None where the log was made anew, and begins again."""
        ...

    def append(self, records: Iterable[LogRecord]) -> int:
        """Write records in order and return how many, when all are acknowledged; BrokerError where one is refused."""
        ...


class TopicPublisher:
    """Sends versions of `tables` to `log`.

    Attributes
    ----------
    mark : TopicVersion or None
        The last mark in the topic, if nothing but what it says lies before it and nothing behind it.
    """

    def __init__(self, tables: TableStore, log: RowLog) -> None:
        self._tables, self._log = tables, log
        self._forget()

    def _forget(self) -> None:
        self._there: dict[bytes, int] = {}
        self._sum = 0
        self._last: TopicVersion | None = None
        self._is_behind_mark = False

    @property
    def mark(self) -> TopicVersion | None:
        """See the class."""
        is_whole = self._last is not None and (self._last.rows, self._last.digest) == (
            len(self._there),
            digest_text(self._sum),
        )
        return self._last if is_whole and not self._is_behind_mark else None

    def sync(self) -> int:
        """Bring the topic to the version that serves; returns how many records were sent, 0 where it is there already.

        1. Read on: what do readers of the topic have?
        2. Send rows that differ, and deletions of those that are gone.
        3. When all are acknowledged, send the mark: now readers have the version.
        4. Read back; where somebody else has written in between, begin again.

        Raises
        ------
        BrokerError
            If the broker refuses, or others write too.
        TableError
            If the version that serves cannot be read.
        """
        n_sent = 0
        for _ in range(_MAX_ATTEMPTS):
            self._read_on()  # 1
            version = self._tables.current()
            if version is None:
                return n_sent
            manifest = self._tables.manifest(version)
            if self._holds(manifest):
                return n_sent
            n_sent += self._send(manifest)  # 2, 3
            self._read_on()  # 4
            if self._holds(manifest):
                _LOG.info("table version %d is in topic %s (%d records)", version, self._log.name, n_sent)
                return n_sent
        raise BrokerError(
            f"after {_MAX_ATTEMPTS} attempts the topic does not hold version {version}: others write to it too",
            "Let one run publish to a topic, and nobody else write to it",
            place=self._log.name,
        )

    def _holds(self, manifest: Manifest) -> bool:
        mark, wanted = self.mark, (manifest.version, manifest.content_checksum)
        return mark is not None and (mark.version, mark.content_checksum) == wanted

    def _send(self, manifest: Manifest) -> int:
        table, version = self._tables.load(manifest.version), manifest.version
        gone, n_rows, digests = dict.fromkeys(self._there), 0, 0

        def changed() -> Iterator[LogRecord]:  # one after the other: a first version is hundreds of megabytes
            nonlocal n_rows, digests
            for row in rows_of(table):
                n_rows, digests = n_rows + 1, digests + row.digest
                gone.pop(row.key, None)
                if self._there.get(row.key) != row.digest:
                    yield LogRecord(row.key, row.value(version))

        n_sent = self._log.append(changed())
        n_sent += self._log.append(LogRecord(key, None) for key in gone)
        return n_sent + self._log.append([LogRecord(MARK_KEY, encode(mark_of(manifest, n_rows, digests)))])

    def _read_on(self) -> None:
        records = self._log.read_on()
        if records is None:
            self._forget()
            records = self._log.read_on() or ()
        for key, value in records:
            if key == MARK_KEY:
                self._last = read_mark(value) if value else None
                self._is_behind_mark = False
                continue
            self._is_behind_mark = True
            self._sum -= self._there.pop(key, 0)
            if value:
                row = read_row(key, value)
                self._there[key] = digest = row_digest(key, row.level, row.next)
                self._sum += digest
