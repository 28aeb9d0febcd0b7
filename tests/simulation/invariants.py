"""What must hold at every commit, and at the end. Looks at the store past all faults, and at nothing of the workers.

At every commit: offsets, epochs and commit numbers only grow; a pane is closed after the one before it and never
changes again; what was set aside below the stored offset has arrived as a dead letter. After some commits, and at the
end: counts, figures and outcomes in the store are those of exactly the records below the stored offsets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream.broker import DeadLetter
from stream.checkpoint import Progress
from stream.events import Outcome
from stream.reorder import BEGINNING_OF_TIME_MS
from tests.reference import Watch, ids_by_first_sight
from tests.simulation.oracle import Cell, Judged, count_outcomes, judge, recount_watches, watches_of
from tests.simulation.scenario import Scenario
from tests.simulation.topic import Log

_DEAD = (Outcome.MALFORMED, Outcome.FUTURE, Outcome.LATE)


class InvariantError(Exception):
    """Something that must hold does not."""


class ShardRow(NamedTuple):
    """A shard, as it is stored."""

    epoch: int
    commit_number: int
    watermark_ms: int
    counted_ms: int
    is_idle: bool
    is_finished: bool
    progress: bytes


class RunRow(NamedTuple):
    """A run, as it is stored."""

    stream_ms: int | None
    first_pane: int | None
    closed_pane: int | None
    has_ended: bool


class Snapshot(NamedTuple):
    """What is checked at every commit."""

    run: RunRow
    shards: dict[int, ShardRow]
    offsets: dict[int, int]
    closed: dict[int, tuple[bytes, bytes]]


EMPTY = Snapshot(RunRow(None, None, None, False), {}, {}, {})


def require(holds: bool, otherwise: str) -> None:
    """Raise where something does not hold.

    Raises
    ------
    InvariantError
    """
    if not holds:
        raise InvariantError(otherwise)


class Invariants:
    """Watches one world's store.

    Parameters
    ----------
    raw : the driver's connection
    arrived : the dead-letter topic
    """

    def __init__(self, scenario: Scenario, logs: Sequence[Log], raw: Any, arrived: Sequence[DeadLetter]) -> None:
        self._scenario, self._logs, self._raw, self._arrived = scenario, logs, raw, arrived
        self._behind: list[set[int]] = [set() for _ in logs]
        self._judged: dict[int, list[Judged]] = {}
        self._before = EMPTY
        self.n_checked = 0

    def _rows(self, statement: str) -> list[Any]:
        rows: list[Any] = self._raw.execute(statement).fetchall()
        return rows

    def snapshot(self) -> Snapshot:
        """Look at the store."""
        run = self._rows("SELECT stream_ms, first_pane, closed_pane, has_ended FROM runs")
        shards = self._rows(
            "SELECT shard, epoch, commit_number, watermark_ms, counted_ms, is_idle, is_finished, progress FROM shards"
        )
        return Snapshot(
            RunRow(*run[0]) if run else EMPTY.run,
            {row[0]: ShardRow(*row[1:]) for row in shards},
            dict(self._rows("SELECT partition, next_offset FROM offsets")),
            {row[0]: row[1:] for row in self._rows("SELECT pane, keys, counts FROM pane_counts")},
        )

    def committed(self, late: Mapping[int, Mapping[int, int | None]]) -> None:
        """Check a transaction that has happened.

        Parameters
        ----------
        late : partition -> offset -> the stream's watermark when it was found late, of the process that has committed
        """
        before, now = self._before, self.snapshot()
        self._before = now
        for partition, shard in now.shards.items():
            self._check_shard(partition, before.shards.get(partition), shard)
            start, stop = before.offsets.get(partition, -1), now.offsets.get(partition, -1)
            require(start <= stop, f"the offset of {partition} went back from {start} to {stop}")
            if start < stop:
                earlier = before.shards.get(partition)
                watermark_ms = BEGINNING_OF_TIME_MS if earlier is None else earlier.watermark_ms
                self._judge_range(partition, range(start, stop), late.get(partition, {}), watermark_ms)
        self._check_closing(before, now)

    def commits(self) -> dict[int, tuple[int, int]]:
        """Epochs and commit numbers of the shards after the last transaction."""
        return {partition: (shard.epoch, shard.commit_number) for partition, shard in self._before.shards.items()}

    def _check_shard(self, partition: int, before: ShardRow | None, now: ShardRow) -> None:
        if before is None or before[:2] == now[:2]:
            return
        steps = now.epoch - before.epoch, now.commit_number - before.commit_number
        require(steps in ((1, 0), (0, 1)), f"shard {partition} went from {before[:2]} to {now[:2]}")
        require(before.counted_ms <= now.counted_ms, f"shard {partition} counted back to {now.counted_ms}")

    def _judge_range(self, partition: int, offsets: range, late: Mapping[int, int | None], watermark_ms: int) -> None:
        """Hold what was found late within its bounds, and dead letters against the records that they stand for."""
        for record in self._logs[partition].records:
            if record.offset not in offsets or record.time_ms is None:
                continue
            outcome, place = self._outcome_of(partition, record.offset), f"{partition}@{record.offset}"
            if record.offset in late and outcome is not Outcome.LATE:
                stream_ms = late[record.offset]
                is_behind = self._scenario.follows and stream_ms is not None and record.time_ms < stream_ms
                require(is_behind, f"{place} was found late, but is not behind the stream ({stream_ms})")
                self._behind[partition].add(record.offset)
                del self._judged[partition]
            elif outcome is Outcome.COUNTED:
                require(record.time_ms >= watermark_ms, f"{place} was counted behind the watermark ({watermark_ms})")
        arrived = {(letter.partition, letter.offset) for letter in self._arrived}
        for each in self.judged(partition):
            at = each.record.offset
            if at in offsets and each.outcome in _DEAD:
                require((partition, at) in arrived, f"{partition}@{at} was committed before its dead letter arrived")

    def _outcome_of(self, partition: int, offset: int) -> Outcome:
        return next(each.outcome for each in self.judged(partition) if each.record.offset == offset)

    def judged(self, partition: int) -> list[Judged]:
        """Return a partition's records with their outcomes."""
        if partition not in self._judged:
            self._judged[partition] = judge(self._logs[partition], self._scenario, self._behind[partition])
        return self._judged[partition]

    def _check_closing(self, before: Snapshot, now: Snapshot) -> None:
        pane, known = now.run.closed_pane, before.run.closed_pane
        if known is not None:
            require(pane in (known, known + 1), f"the closed pane went from {known} to {pane}")
        elif pane is not None:
            require(pane == now.run.first_pane, f"pane {pane} was closed first, not {now.run.first_pane}")
        require(before.run.first_pane in (None, now.run.first_pane), "the first pane has moved")
        require((before.run.stream_ms or BEGINNING_OF_TIME_MS) <= (now.run.stream_ms or BEGINNING_OF_TIME_MS), "")
        if pane is None:
            return
        for closed, content in before.closed.items():
            require(now.closed.get(closed) == content, f"pane {closed} changed after it was closed")
        require(max(now.closed, default=pane) <= pane, "a pane has counts before it was closed")
        left = self._rows(f"SELECT count(*) FROM pane_parts WHERE pane <= {pane}")[0][0]
        require(not left, f"parts of panes up to {pane} came after they were closed")
        if pane != known:
            end_ms = (pane + 1) * self._scenario.sequences.pane_ms
            incomplete = [p for p, shard in now.shards.items() if shard.counted_ms < end_ms]
            require(not incomplete, f"pane {pane} was closed before {incomplete} had counted it")
            require(len(now.shards) == self._scenario.n_partitions, f"pane {pane} was closed without all shards")
            self._check_ids(now, end_ms)

    def _check_ids(self, now: Snapshot, before_ms: int) -> None:
        """Ids of clusters follow their first event times and then their names; a catalogue's come first."""
        rows = self._rows("SELECT name, cluster_id FROM clusters WHERE cluster_id IS NOT NULL")
        require(len({row[1] for row in rows}) == len(rows), "two clusters share an id")
        if self._scenario.scores:
            return
        watches = [w for of_one in self._watches(now) for w in of_one if w.time_ms < before_ms]
        expected = ids_by_first_sight(watches)
        require(dict(rows) == expected, f"cluster ids are {dict(rows)}, not {expected}")

    def _watches(self, now: Snapshot) -> list[list[Watch[str]]]:
        return [
            watches_of(self.judged(p), now.offsets.get(p, -1), now.shards[p].counted_ms) if p in now.shards else []
            for p in range(len(self._logs))
        ]

    def mirrored(self, offsets: Mapping[int, int]) -> None:
        """Check what lag tools are shown: nothing that is not stored."""
        for partition, offset in offsets.items():
            stored = self._before.offsets.get(partition, -1)
            require(offset <= stored, f"offset {offset} of {partition} was shown, {stored} is stored")

    def check_all(self) -> None:
        """Compare counts, figures and outcomes with those of exactly the records below the stored offsets."""
        self.n_checked += 1
        now = self._before
        expected: Counter[Cell] = Counter()
        for partition, watches in enumerate(self._watches(now)):
            found = recount_watches(watches, self._scenario, now.run.first_pane)
            expected.update(found.counts)
            rows = self._rows(f"SELECT pane, figures FROM pane_stats WHERE shard = {partition}")
            stored = {row[0]: np.frombuffer(row[1], np.int64).tolist() for row in rows}
            stored = {pane: figures for pane, figures in stored.items() if any(figures)}
            require(stored == dict(found.figures), f"figures of {partition} are {stored}, not {dict(found.figures)}")
            self._check_outcomes(partition, now)
        counts = self.counts()
        require(counts == expected, f"counts are off by {_difference(counts, expected)}")

    def _check_outcomes(self, partition: int, now: Snapshot) -> None:
        shard = now.shards.get(partition)
        if shard is None:
            return
        progress = msgspec.msgpack.decode(shard.progress, type=Progress)
        expected = count_outcomes(self.judged(partition), now.offsets.get(partition, -1))
        found = {outcome: n for outcome, n in progress.outcomes.items() if n}
        require(found == dict(expected), f"outcomes of {partition} are {found}, not {dict(expected)}")

    def counts(self) -> Counter[Cell]:
        """Return all counts of the store, of open and closed panes, by name."""
        clusters = self._rows("SELECT code, name, cluster_id FROM clusters")
        of_code = {code: name for code, name, _ in clusters}
        of_id = {cluster_id: name for _, name, cluster_id in clusters}
        total: Counter[Cell] = Counter()
        for table, names in (("pane_parts", of_code), ("pane_counts", of_id)):
            for pane, keys, counts in self._rows(f"SELECT pane, keys, counts FROM {table}"):
                packed, numbers = np.frombuffer(keys, np.int64).tolist(), np.frombuffer(counts, np.int64).tolist()
                for key, n in zip(packed, numbers, strict=True):
                    total[pane, names[key >> 40], names[key >> 24 & 0xFFFF], names[key >> 8 & 0xFFFF]] += n
        return total

    def what_is_missing(self) -> str | None:
        """Say what a calm world has not completed yet; None where it has."""
        now = self.snapshot()
        if len(now.shards) < self._scenario.n_partitions:
            return "a partition that nobody has taken over"
        unread = [log.partition for log in self._logs if log.records and not self._is_read(log, now)]
        if unread:
            return f"the rest of {unread}"
        if not self._scenario.follows:
            return None if now.run.has_ended else "the run's last pane"
        if not all(shard.is_idle for shard in now.shards.values()):
            return "a partition that does not idle at its end"
        furthest_ms = max(shard.watermark_ms for shard in now.shards.values())
        if any(shard.counted_ms < furthest_ms for shard in now.shards.values()):
            return "a partition that has not gone along with the others"
        last_pane = furthest_ms // self._scenario.sequences.pane_ms - 1
        return f"pane {last_pane}" if self._first_pane() <= last_pane != now.run.closed_pane else None

    @staticmethod
    def _is_read(log: Log, now: Snapshot) -> bool:
        return now.offsets.get(log.partition, -1) > log.records[-1].offset

    def kinds(self) -> Counter[str]:
        """Count the records by what became of them."""
        return Counter(f"{each.outcome} records" for p in range(len(self._logs)) for each in self.judged(p))

    def check_end(self) -> None:
        """Check everything once more, dead letters included."""
        self.check_all()
        now = self._before
        if not self._scenario.follows:
            require(now.run.first_pane == self._first_pane(), f"the run begins with pane {now.run.first_pane}")
        judged = {(p, each.record.offset): each for p in range(len(self._logs)) for each in self.judged(p)}
        arrived = set()
        for letter in self._arrived:
            each, place = judged[letter.partition, letter.offset], f"{letter.partition}@{letter.offset}"
            require(
                each.outcome is letter.outcome, f"{place} is {each.outcome}, and was dead-lettered {letter.outcome}"
            )
            is_same = (letter.key, letter.value) == (each.record.key, each.record.value)
            require(is_same, f"the dead letter of {place} holds {letter.key!r}: {letter.value!r}")
            arrived.add((letter.partition, letter.offset))
        missing = {place for place, each in judged.items() if each.outcome in _DEAD} - arrived
        require(not missing, f"no dead letters of {sorted(missing)} arrived")

    def _first_pane(self) -> int:
        times_ms = [
            each.record.time_ms
            for partition in range(len(self._logs))
            for each in self.judged(partition)
            if each.outcome is Outcome.COUNTED and each.record.time_ms is not None
        ]
        return min(times_ms) // self._scenario.sequences.pane_ms


def _difference(found: Counter[Cell], expected: Counter[Cell]) -> str:
    more, less = found - expected, expected - found
    return f"{sum(more.values())} too many, {sum(less.values())} missing, such as {[*more, *less][:3]}"
