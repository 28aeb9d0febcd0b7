"""What one commit holds, and its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
    """How far a run has come, apart from its arrays.

    ``closed_pane`` is the last pane whose events are all counted, and the run's last if
    ``has_ended``; ``waiting_*`` are the events that were read but still wait for the watermark, with the names that
    their codes point to.
    """

    earliest_ms: int | None = None
    latest_ms: int | None = None
    first_pane: int | None = None
    closed_pane: int | None = None
    has_ended: bool = False
    stream_ms: int = BEGINNING_OF_TIME_MS
    outcomes: dict[str, int] = {}
    issues: tuple[StoredIssue, ...] = ()
    waiting_names: tuple[str, ...] = ()
    waiting_users: bytes = b""
    waiting_clusters: bytes = b""
    waiting_times_ms: bytes = b""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that one transaction of the store makes true together.

    Attributes
    ----------
    progress
    offsets : partition -> (next offset, latest event time in ms)
    new_clusters : id -> name
    segment : state of the users that changed, or of all users if `replaces_segments`
    counts : pane -> transitions counted since the last checkpoint
    stats : pane -> int64[7], absolute figures of the panes that changed
    """

    progress: Progress
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    new_clusters: dict[int, str] = field(default_factory=dict)
    segment: UserSegment | None = None
    replaces_segments: bool = False
    counts: dict[int, BucketedCounts] = field(default_factory=dict)
    stats: dict[int, NDArray[np.int64]] = field(default_factory=dict)


_SEGMENT_DTYPES: dict[str, Any] = {
    "users": np.uint64,
    "last_ms": np.int64,
    "lengths": np.int32,
    "clusters": np.int32,
    "times_ms": np.int64,
    "predictions": np.int32,
}


def encode_segment(segment: UserSegment) -> bytes:
    """Write sequence state as one block of arrays.

    Examples
    --------
    >>> empty = UserSegment(*(np.zeros(0, dtype) for dtype in _SEGMENT_DTYPES.values()))
    >>> decode_segment(encode_segment(empty)).users.shape
    (0,)
    """
    return msgspec.msgpack.encode({name: getattr(segment, name).tobytes() for name in _SEGMENT_DTYPES})


def decode_segment(body: bytes) -> UserSegment:
    """Read what `encode_segment` wrote."""
    columns = msgspec.msgpack.decode(body, type=dict[str, bytes])
    return UserSegment(**{name: np.frombuffer(columns[name], dtype) for name, dtype in _SEGMENT_DTYPES.items()})
