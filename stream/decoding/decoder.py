"""Raw columns in, event batches out: the one way from a record to its outcome, the same for every source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.decoding.clusters import MISSING, UNKNOWN, ClusterDictionary
from stream.decoding.columns import ColumnMap, DecodeOptions
from stream.decoding.id_hashes import hash_ids
from stream.decoding.times import NO_TIME, times_ms_of
from stream.events import EventBatch, Outcome, RecordIssue
from tidegate.clock import Clock, iso_utc

__all__ = ["MAX_ISSUES", "DecodeOptions", "Decoder", "RawRecords", "iso_utc_or_ms"]

MAX_ISSUES = 5
"""Records of a batch that are shown to their owner; the rest is only counted."""

_WELL, _MALFORMED, _FUTURE, _UNKNOWN, _NEGATIVE = range(5)
_OUTCOMES = {
    _MALFORMED: Outcome.MALFORMED,
    _FUTURE: Outcome.FUTURE,
    _UNKNOWN: Outcome.UNKNOWN_CLUSTER,
    _NEGATIVE: Outcome.NEGATIVE,
}


@dataclass(frozen=True, slots=True)
class RawRecords:
    """Records as a source reads them, in the partition's order.

    Attributes
    ----------
    columns : mapping        name -> pyarrow.Array[n], at least those of the column map
    n : int                  rows of the columns
    place_of : callable      row -> ``file:line`` or the like
    unreadable : tuple       issues of records that have no row because they do not parse (the first few)
    n_unreadable : int       how many such records there are
    positions : int64[n]     of each row among all records; None where every record is a row
    """

    columns: Mapping[str, Any]
    n: int
    place_of: Callable[[int], str]
    unreadable: tuple[RecordIssue, ...] = ()
    n_unreadable: int = 0
    positions: NDArray[np.int64] | None = None


class Decoder:
    """Turns raw records into an event batch.

    Every record gets one outcome; where several apply, the first of MALFORMED, FUTURE, UNKNOWN_CLUSTER, NEGATIVE.

    Parameters
    ----------
    options : DecodeOptions
    columns : ColumnMap
    clock : Clock            for FUTURE
    explains_all : bool      every record that is set aside gets an issue, but for NEGATIVE ones; else the first few
    """

    def __init__(self, options: DecodeOptions, columns: ColumnMap, clock: Clock, *, explains_all: bool = False) -> None:
        self._options = options
        self._columns = columns
        self._clock = clock
        self._max_issues = None if explains_all else MAX_ISSUES
        items = options.item_clusters if columns.label_is_item else None
        self.clusters = ClusterDictionary(options.known_clusters, items)

    def decode(self, records: RawRecords, *, partition: int, next_offset: int, at_end: bool = False) -> EventBatch:
        """Decode the records of one partition. `O(n)`, a few passes over columns, no Python object per record."""
        columns = records.columns
        users, has_user = hash_ids(columns[self._columns.user])
        times_ms = times_ms_of(columns[self._columns.time], self._options.time_unit)
        codes = self.clusters.codes(columns[self._columns.label])
        bound_ms = self._clock.now_ms() + self._options.max_ahead_ms

        malformed = ~has_user | (times_ms == NO_TIME) | (codes == MISSING)
        in_time = ~malformed & (times_ms <= bound_ms)
        verdicts = self._verdicts(records, malformed, in_time, codes)
        counted = verdicts == _WELL
        kept = slice(None) if counted.all() else counted  # the slice copies nothing
        positions = np.arange(records.n) if records.positions is None else records.positions
        event_ids = self._event_ids(columns)
        return EventBatch(
            partition=partition,
            next_offset=next_offset,
            n_records=records.n + records.n_unreadable,
            users=users[kept],
            clusters=codes[kept],
            times_ms=times_ms[kept],
            latest_ms=_latest(times_ms if in_time.all() else times_ms[in_time]),
            set_aside=_set_aside(verdicts, records.n_unreadable),
            issues=self._issues(records, verdicts, times_ms, positions),
            at_end=at_end,
            positions=positions[kept],
            event_ids=None if event_ids is None else event_ids[kept],
        )

    def _event_ids(self, columns: Mapping[str, Any]) -> NDArray[np.uint64] | None:
        if self._options.event_id_column is None:
            return None
        hashes, has_id = hash_ids(columns[self._options.event_id_column])
        return np.where(has_id, hashes, np.uint64(0))

    def _verdicts(
        self, records: RawRecords, malformed: NDArray[np.bool_], in_time: NDArray[np.bool_], codes: NDArray[np.int32]
    ) -> NDArray[np.int8]:
        verdicts = np.zeros(records.n, dtype=np.int8)
        if self._options.positive is not None:
            verdicts[~self._options.positive.holds(records.columns)] = _NEGATIVE
        # Written from the last to the first in precedence: the later line wins.
        verdicts[codes == UNKNOWN] = _UNKNOWN
        verdicts[~in_time] = _FUTURE
        verdicts[malformed] = _MALFORMED
        return verdicts

    def _issues(
        self,
        records: RawRecords,
        verdicts: NDArray[np.int8],
        times_ms: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> tuple[RecordIssue, ...]:
        issues = list(records.unreadable[: self._max_issues])
        n_left = None if self._max_issues is None else self._max_issues - len(issues)
        shown = np.flatnonzero((verdicts != _WELL) & (verdicts != _NEGATIVE))[:n_left]
        for row in shown.tolist():
            outcome, place = _OUTCOMES[int(verdicts[row])], records.place_of(row)
            found, mend = self._explain(records.columns, row, int(verdicts[row]), int(times_ms[row]))
            issues.append(RecordIssue(outcome, place, found, mend, int(positions[row])))
        return tuple(issues)

    def _explain(self, columns: Mapping[str, Any], row: int, verdict: int, time_ms: int) -> tuple[str, str]:
        if verdict == _FUTURE:
            found = f"{self._columns.time} is {iso_utc_or_ms(time_ms)}, ahead of the clock by more than the bound"
            return found, f"Check --time-unit (now {self._options.time_unit}) and the clock of the producer"
        label = columns[self._columns.label][row].as_py()
        if verdict == _UNKNOWN and self._columns.label_is_item and self._options.item_clusters is not None:
            found = f"item {label!r} has no cluster in the catalogue"
            return found, f"Add the item to {self._options.item_clusters.path} and its cluster to the catalogue"
        if verdict == _UNKNOWN:
            return f"cluster {label!r} is not in the catalogue", "Add it to the catalogue or correct the record"
        label_flag = "--item-column" if self._columns.label_is_item else "--cluster-column"
        for name, flag in ((self._columns.user, "--user-column"), (self._columns.label, label_flag)):
            if _is_blank(columns[name][row].as_py()):
                return f"{name} has no value", f"Fill it in, or name another column with {flag}"
        value = columns[self._columns.time][row].as_py()
        found = f"{self._columns.time} is {value!r}, not a time in the unit {self._options.time_unit}"
        return found, "Correct the record, or name the unit with --time-unit s, ms, us, ns or iso"


def iso_utc_or_ms(time_ms: int) -> str:
    """Write an instant in ISO 8601, or as a bare number past the calendar's last year.

    Examples
    --------
    >>> iso_utc_or_ms(0), iso_utc_or_ms(1 << 53)
    ('1970-01-01T00:00:00Z', '9007199254740992 ms')
    """
    try:
        return iso_utc(time_ms)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


def _is_blank(value: object) -> bool:
    return value is None or not str(value).strip() or (isinstance(value, float) and math.isnan(value))


def _latest(times_ms: NDArray[np.int64]) -> int | None:
    return int(times_ms.max()) if times_ms.shape[0] else None


def _set_aside(verdicts: NDArray[np.int8], n_unreadable: int) -> dict[Outcome, int]:
    counts = np.bincount(verdicts, minlength=len(_OUTCOMES) + 1)
    counts[_MALFORMED] += n_unreadable
    return {outcome: int(counts[verdict]) for verdict, outcome in _OUTCOMES.items() if counts[verdict]}
