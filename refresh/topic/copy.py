"""A copy of the table, built from its topic: always one whole version, the next one aside until its mark has come."""

from __future__ import annotations

from collections.abc import Collection

from refresh.topic.records import (
    MARK_KEY,
    TopicAnswer,
    TopicRow,
    TopicVersion,
    backoff_key,
    digest_text,
    pair_key,
    read_mark,
    read_row,
    row_digest,
)


class TableCopy:
    """What a reader of the topic knows. Feed it every record from the topic's beginning, in order.

    A reader may begin while a version is being sent, or after compaction has taken rows of the last whole one: it then
    waits for the next mark that fits. Another language does the same in four rules: keep the newest value of each key;
    an empty value deletes; at the key ``[]`` compare number and digest of what you keep; if both fit, serve that.

    Examples
    --------
    >>> copy = TableCopy()
    >>> copy.version, copy.answer("soul", "rock")
    (None, [])
    """

    def __init__(self) -> None:
        self.version: TopicVersion | None = None
        """The whole version that is served."""
        self._served: dict[bytes, TopicRow] = {}
        self._pending: dict[bytes, TopicRow | None] = {}
        self._digests: dict[bytes, int] = {}
        self._sum = 0

    @property
    def rows(self) -> dict[bytes, TopicRow]:
        """Rows of the served version by key; replaced, never changed, when another version is whole."""
        return self._served

    def apply(self, key: bytes, value: bytes | None) -> bool:
        """Take one record; returns whether another version is served now.

        Raises
        ------
        BrokerError
            If it is no record of a table.
        """
        if key == MARK_KEY:
            return value is not None and self._end(read_mark(value))
        row = read_row(key, value) if value else None
        self._sum -= self._digests.pop(key, 0)
        if row is not None:
            self._digests[key] = digest = row_digest(key, row.level, row.next)
            self._sum += digest
        self._pending[key] = row
        return False

    def _end(self, mark: TopicVersion) -> bool:
        if (len(self._digests), digest_text(self._sum)) != (mark.rows, mark.digest):
            return False  # not whole: some of its rows were overtaken by those of a later version
        rows = dict(self._served)
        for key, row in self._pending.items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        self._served, self._pending, self.version = rows, {}, mark
        return True

    def answer(self, c1: str, c2: str, n: int = 1, exclude: Collection[str] = ()) -> list[TopicAnswer]:
        """Answer a pair from its row, else from the row of `c2`, as the service does."""
        rows = self._served
        for key in (pair_key(c1, c2), backoff_key(c2)):
            row = rows.get(key)
            found = [each for each in row.next if each.name not in (c1, c2) and each.name not in exclude] if row else []
            if found:
                return found[:n]
        return []
