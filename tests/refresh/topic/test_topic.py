"""The table's topic without a broker: any order of versions, crashes and compactions, and every kind of reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.table import TransitionTable
from refresh.table_store import TableStore
from refresh.topic import TableCopy, TopicPublisher
from refresh.topic.publisher import LogRecord
from refresh.topic.records import MARK_KEY, pair_key, rows_of
from tests.table_topics import answers_in, answers_of
from tests.tables import NAMES, publish, small_table
from tidegate.errors import BrokerError


class CrashError(Exception):
    """The publisher's process ends here."""


class FakeLog:
    """A log in memory with offsets, which may be compacted and cut a writer off."""

    name = "table"

    def __init__(self, records: list[tuple[int, LogRecord]] | None = None) -> None:
        self.records = [] if records is None else records
        self.crashes_after: int | None = None
        self._position = 0

    def read_on(self) -> Iterable[LogRecord] | None:
        if self.records and self._position > self.end:
            self._position = 0
            return None
        found = [record for offset, record in self.records if offset >= self._position]
        self._position = self.end
        return found

    @property
    def end(self) -> int:
        return self.records[-1][0] + 1 if self.records else 0

    def append(self, records: Iterable[LogRecord]) -> int:
        n = 0
        for record in records:
            if self.crashes_after is not None and self.crashes_after <= 0:
                raise CrashError
            self.crashes_after = None if self.crashes_after is None else self.crashes_after - 1
            self.records.append((self.end, record))
            n += 1
        return n

    def compact(self, up_to: int, drops_tombstones: bool) -> None:
        """Keep the newest record of each key among those before `up_to`, which later ones may supersede too."""
        newest = {record.key: offset for offset, record in self.records}
        self.records[:] = [
            (offset, record)
            for offset, record in self.records
            if offset >= up_to or (newest[record.key] == offset and not (drops_tombstones and record.value is None))
        ]


def read(records: Iterable[LogRecord]) -> TableCopy:
    copy = TableCopy()
    for record in records:
        copy.apply(*record)
    return copy


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path)


PAIRS = st.dictionaries(
    st.tuples(st.integers(0, 1), st.integers(2, 3)), st.sampled_from([(), (4,), (4, 0), (0, 1), (1, 4)]), max_size=4
)
BACKOFF = st.dictionaries(st.integers(0, 4), st.permutations(range(5)).map(lambda row: row[:2]), max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), PAIRS, BACKOFF),
        st.tuples(st.just("rollback"), st.integers(0, 9)),
        st.tuples(st.just("crash"), st.integers(0, 6)),
        st.tuples(st.just("compact"), st.floats(0, 1), st.booleans()),
        st.tuples(st.just("read")),
    ),
    max_size=10,
)


@given(STEPS)
@settings(max_examples=25, deadline=None)
def test_every_reader_has_a_whole_version_and_the_last_one_at_the_end(steps: list[tuple]) -> None:
    """Readers begin at any time, before and after compactions; the publisher may crash after any record."""
    with TemporaryDirectory() as folder:
        store, log, tables = TableStore(Path(folder)), FakeLog(), {}
        readers: list[tuple[TableCopy, FakeLog]] = []

        def publish_next(table: TransitionTable) -> None:
            version = publish(store, table, window_end_ms=len(tables))
            tables[version] = answers_of(table)

        publish_next(small_table())
        for step, *given_ in [*steps, ("publish", {(0, 2): (4,)}, {3: (0, 1)})]:
            if step == "publish":
                pairs = {pair: tuple(c for c in row if c not in pair) for pair, row in given_[0].items()}
                backoff = {c2: tuple(c for c in row if c != c2) for c2, row in given_[1].items()}
                publish_next(small_table(pairs, backoff))
            elif step == "rollback":
                store.rollback(store.numbers()[given_[0] % len(store.numbers())], why="x")
            elif step == "crash":
                log.crashes_after = given_[0]
            elif step == "compact":
                log.compact(int(log.end * given_[0]), given_[1])
            else:
                readers.append((TableCopy(), FakeLog(log.records)))
            publisher_log = FakeLog(log.records)  # every publisher is a new process, which knows nothing
            publisher_log.crashes_after, log.crashes_after = log.crashes_after, None
            with suppress(CrashError):
                TopicPublisher(store, publisher_log).sync()
            for copy, own in readers:
                for record in own.read_on() or ():
                    if copy.apply(*record):
                        assert answers_in(copy, NAMES) == tables[copy.version.version]
        assert TopicPublisher(store, FakeLog(log.records)).sync() == 0
        readers.append((read(record for _, record in log.records), log))
        for copy, _ in readers:
            assert copy.version.version == store.current()
            assert answers_in(copy, NAMES) == tables[store.current()]


def test_only_rows_that_changed_are_sent(store: TableStore) -> None:
    log = FakeLog()
    publisher = TopicPublisher(store, log)
    assert publisher.sync() == 0  # nothing serves yet
    publish(store, small_table())
    assert publisher.sync() == 5 + 1
    assert publisher.sync() == 0
    publish(store, small_table({(0, 1): (2, 3), (1, 2): (3,)}), window_end_ms=2_000)
    assert publisher.sync() == 1 + 1 + 1  # one changed, one gone, the mark
    sent = [record for _, record in log.records[6:]]
    assert [(key, value is None) for key, value in sent] == [
        (b'["rock","soul"]', False),
        (b'["folk","rock"]', True),
        (MARK_KEY, False),
    ]
    assert sent[0].value == b'{"version":2,"level":"pair","next":[{"name":"folk","probability":0.5}]}'


def test_a_crash_before_the_mark_sends_only_what_is_missing(store: TableStore) -> None:
    log = FakeLog()
    publish(store, small_table())
    log.crashes_after = 3
    with pytest.raises(CrashError):
        TopicPublisher(store, log).sync()
    assert read(record for _, record in log.records).version is None
    again = FakeLog(log.records)
    assert TopicPublisher(store, again).sync() == 2 + 1
    assert read(record for _, record in log.records).version.rows == 5


def test_a_topic_that_was_made_anew_is_filled_again(store: TableStore) -> None:
    log = FakeLog()
    publish(store, small_table())
    publisher = TopicPublisher(store, log)
    publisher.sync()
    log.records[:] = [(0, LogRecord(pair_key("a", "b"), None))]
    assert publisher.sync() == 5 + 1


def test_others_that_write_are_noticed(store: TableStore) -> None:
    class Shared(FakeLog):
        def append(self, records: Iterable[LogRecord]) -> int:
            n = super().append(records)
            super().append([LogRecord(pair_key("jazz", "rock"), None)])
            return n

    publish(store, small_table())
    with pytest.raises(BrokerError, match="table: after 3 attempts the topic does not hold version 1: others write"):
        TopicPublisher(store, Shared()).sync()


@pytest.mark.parametrize(
    ("key", "value"), [(b"jazz", b"{}"), (b'["a"]', b"{"), (b'["a"]', b"\xff"), (b"[]", b"{}"), (b"[1]", b"{}")]
)
def test_records_of_something_else_are_refused(store: TableStore, key: bytes, value: bytes) -> None:
    with pytest.raises(BrokerError, match="is none of a table"):
        TableCopy().apply(key, value)
    publish(store, small_table())
    with pytest.raises(BrokerError, match="Give the table a topic of its own"):
        TopicPublisher(store, FakeLog([(0, LogRecord(key, value))])).sync()


def test_a_copy_answers_as_the_service_and_keeps_its_rows_while_the_next_come(store: TableStore) -> None:
    log = FakeLog()
    publish(store, small_table(names=('a"b', "é,x", "[]", "\x01", "ska")))
    TopicPublisher(store, log).sync()
    copy = read(record for _, record in log.records)
    assert answers_in(copy, store.load().cluster_names) == answers_of(store.load())
    assert [each.name for each in copy.answer('a"b', "é,x", 5, exclude=["[]"])] == ["\x01"]
    held, names = copy.rows, store.load().cluster_names
    copy.apply(pair_key(names[0], names[1]), None)
    assert copy.rows is held
    assert pair_key(names[0], names[1]) in held


def test_rows_that_answer_nothing_are_not_sent() -> None:
    assert [row.key for row in rows_of(small_table({(0, 1): ()}, {}))] == []
    probabilities = [each.probability for row in rows_of(small_table()) for each in row.answers]
    assert all(np.float32(p) == p for p in probabilities)


def test_keys_are_unlike_whatever_names_hold() -> None:
    def keys() -> Iterator[bytes]:
        names = ("*", '"', ",", '","', "[]", "")
        yield from (pair_key(a, b) for a in names for b in names)

    assert len(set(keys())) == 36
