"""What one commit of a shard holds, and its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.reorder import BEGINNING_OF_TIME_MS
from stream.sequences import UserSegment
from tidegate.counts import BucketedCounts


class StoredIssue(msgspec.Struct, frozen=True):
    """A record that was set aside, kept for the run's report."""

    outcome: str
    place: str
    found: str
    mend: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a shard has come, apart from its arrays.

    ``closed_pane`` is the last pane whose events are all counted, and the shard's last if ``has_ended``;
    ``counted_ms`` is the event time before which all is counted.
    """

    earliest_ms: int | None = None
    latest_ms: int | None = None
    first_pane: int | None = None
    closed_pane: int | None = None
    has_ended: bool = False
    stream_ms: int = BEGINNING_OF_TIME_MS
    counted_ms: int = BEGINNING_OF_TIME_MS
    outcomes: dict[str, int] = {}
    issues: tuple[StoredIssue, ...] = ()


class Marks(NamedTuple):
    """What a shard lets the others know: how far its event time has come.

    Attributes
    ----------
    earliest_ms : int | None               over its events that are counted, or wait to be
    latest_ms : int | None                 over its well-formed records in time
    watermark_ms : int                     no event before it will be admitted any more
    counted_ms : int                       all events before it are counted
    is_idle, is_finished : bool            waits for new records; has no more, ever
    """

    earliest_ms: int | None = None
    latest_ms: int | None = None
    watermark_ms: int = BEGINNING_OF_TIME_MS
    counted_ms: int = BEGINNING_OF_TIME_MS
    is_idle: bool = False
    is_finished: bool = False


@dataclass(frozen=True, slots=True)
class WaitingEvents:
    """Events that were admitted and wait for the watermark, in arrival order where times are equal.

    Attributes
    ----------
    names : tuple of str     what `clusters` points into
    users : uint64[n]
    clusters : int32[n]
    times_ms : int64[n]
    """

    names: tuple[str, ...]
    users: NDArray[np.uint64]
    clusters: NDArray[np.int32]
    times_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EventIds:
    """Ids of events that were seen: uint64[n] xxh64 of the id's text, int64[n] event times."""

    ids: NDArray[np.uint64]
    times_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that one transaction of the store makes true together.

    Attributes
    ----------
    progress, marks
    offsets : partition -> (next offset, latest event time in ms)
    new_clusters : code -> name, for a shard that hands out codes itself
    first_seen : code -> event time of its first event in this shard, ms
    segment : state of the users that changed, or of all users if `replaces_segments`
    waiting : events that wait since the last checkpoint
    event_ids : ids seen since the last checkpoint
    forget_ids_before_ms : event time before which ids need not be known any more
    counts : pane -> transitions counted since the last checkpoint, in codes
    stats : pane -> int64[7], absolute figures of the panes that changed
    """

    progress: Progress
    marks: Marks = field(default_factory=Marks)
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    new_clusters: dict[int, str] = field(default_factory=dict)
    first_seen: dict[int, int] = field(default_factory=dict)
    segment: UserSegment | None = None
    replaces_segments: bool = False
    waiting: WaitingEvents | None = None
    event_ids: EventIds | None = None
    forget_ids_before_ms: int = BEGINNING_OF_TIME_MS
    counts: dict[int, BucketedCounts] = field(default_factory=dict)
    stats: dict[int, NDArray[np.int64]] = field(default_factory=dict)


_DTYPES: dict[str, Any] = {
    "users": np.uint64,
    "last_ms": np.int64,
    "lengths": np.int32,
    "clusters": np.int32,
    "times_ms": np.int64,
    "predictions": np.int32,
    "ids": np.uint64,
}


def encode_columns(columns: UserSegment | WaitingEvents | EventIds) -> bytes:
    """Write sequence state, waiting events or event ids as one block of arrays.

    Examples
    --------
    >>> ids = EventIds(np.array([7], np.uint64), np.array([1000]))
    >>> decode_event_ids(encode_columns(ids)).ids.tolist()
    [7]
    """
    values = {each.name: getattr(columns, each.name) for each in fields(columns)}
    return msgspec.msgpack.encode(
        {name: value.tobytes() if name in _DTYPES else value for name, value in values.items()}
    )


def decode_segment(body: bytes) -> UserSegment:
    """Read sequence state back."""
    return UserSegment(**_decode_columns(body))


def decode_waiting(body: bytes) -> WaitingEvents:
    """Read waiting events back."""
    columns = _decode_columns(body)
    return WaitingEvents(**(columns | {"names": tuple(columns["names"])}))


def decode_event_ids(body: bytes) -> EventIds:
    """Read event ids back."""
    return EventIds(**_decode_columns(body))


def _decode_columns(body: bytes) -> dict[str, Any]:
    columns: dict[str, Any] = msgspec.msgpack.decode(body)
    return {name: np.frombuffer(value, _DTYPES[name]) if name in _DTYPES else value for name, value in columns.items()}


def bytes_of_counts(counts: BucketedCounts) -> dict[str, bytes]:
    """Write counts as they are stored: columns `keys` and `counts`."""
    return {"keys": counts.keys.tobytes(), "counts": counts.counts.tobytes()}


def counts_of_bytes(keys: bytes, counts: bytes) -> BucketedCounts:
    """Read counts as they are stored."""
    return BucketedCounts(np.frombuffer(keys, np.int64), np.frombuffer(counts, np.int64))
