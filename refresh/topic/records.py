"""Records of the table's topic: a row by the names of its pair, and a mark that ends each version.

::

    ["soul","rock"]   {"version":7,"level":"pair","next":[{"name":"jazz","probability":0.5}, …]}
    ["rock"]          {"version":7,"level":"backoff","next":[…]}       the row of c2 alone
    ["soul","folk"]   (no value)                                       a row that is gone
    []                {"version":7,"rows":…,"digest":…}                all rows of version 7 lie before this

Names, not ids: ids belong to a run. Only rows that changed are sent, so a row's ``version`` is the one it came with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import xxhash

from refresh.table import TransitionTable
from refresh.table_manifest import Manifest
from tidegate.counts import unpack_pairs
from tidegate.errors import BrokerError

MARK_KEY = b"[]"
_MASK = 2**64 - 1
_encode = msgspec.json.Encoder().encode


class TopicAnswer(msgspec.Struct, frozen=True):
    """One of a row's clusters."""

    name: str
    probability: float


class TopicRow(msgspec.Struct, frozen=True):
    """One row, best cluster first, and the version that it was sent with."""

    version: int
    level: Literal["pair", "backoff"]
    next: list[TopicAnswer]


class TopicVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The mark behind a version's rows.

    ``rows`` counts the rows of both levels; ``digest`` is the sum, modulo 2^64, of each one's `row_digest`, in
    hexadecimal: a reader whose rows do not come to both does not have the version as a whole.
    """

    version: int
    parent: int | None
    created_ms: int
    window_end_ms: int
    content_checksum: str
    rows: int
    digest: str


class Row(NamedTuple):
    """A row on its way: its key, its value without the version, and the digest of both."""

    key: bytes
    level: Literal["pair", "backoff"]
    answers: list[TopicAnswer]
    digest: int

    def value(self, version: int) -> bytes:
        """Write the record's value."""
        return _encode(TopicRow(version, self.level, self.answers))


_decode_row = msgspec.json.Decoder(TopicRow).decode
_decode_mark = msgspec.json.Decoder(TopicVersion).decode
_decode_key = msgspec.json.Decoder(tuple[str, ...]).decode


def pair_key(c1: str, c2: str) -> bytes:
    """Key of a pair's row.

    Examples
    --------
    >>> pair_key("soul", "rock"), backoff_key("rock")
    (b'["soul","rock"]', b'["rock"]')
    """
    return _encode((c1, c2))


def backoff_key(c2: str) -> bytes:
    """Key of the row of `c2` alone."""
    return _encode((c2,))


def row_digest(key: bytes, level: str, answers: list[TopicAnswer]) -> int:
    """XXH3 (64 bits) of the key, a line break, and level and answers as the value has them; its version is left out."""
    return xxhash.xxh3_64_intdigest(b"%b\n%b%b" % (key, level.encode(), _encode(answers)))


def digest_text(digests: int) -> str:
    """Write a sum of digests."""
    return f"{digests & _MASK:016x}"


def read_row(key: bytes, value: bytes) -> TopicRow:
    """Read a row's value.

    Raises
    ------
    BrokerError
        If it is none.
    """
    try:
        _decode_key(key)
        return _decode_row(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _foreign(key, error) from error


def read_mark(value: bytes) -> TopicVersion:
    """Read a mark's value; raises as `read_row` does."""
    try:
        return _decode_mark(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _foreign(MARK_KEY, error) from error


def _foreign(key: bytes, error: Exception) -> BrokerError:
    found = f"the record with key {key[:80]!r} is none of a table ({error})"
    return BrokerError(found, "Give the table a topic of its own", place="--publish-topic")


def rows_of(table: TransitionTable) -> Iterator[Row]:
    """Yield every row of a table that answers anything; about 5 microseconds a row."""
    names = table.cluster_names
    quoted = [_encode(name) for name in names]
    c1, c2 = unpack_pairs(table.pairs)
    keys = (b"[%b,%b]" % (quoted[a], quoted[b]) for a, b in zip(c1.tolist(), c2.tolist(), strict=True))
    yield from _rows(keys, "pair", names, table.clusters, table.probabilities)
    backoff = (b"[%b]" % each for each in quoted)
    yield from _rows(backoff, "backoff", names, table.backoff_clusters, table.backoff_probabilities)


def _rows(
    keys: Iterator[bytes],
    level: Literal["pair", "backoff"],
    names: tuple[str, ...],
    clusters: np.ndarray,
    probabilities: np.ndarray,
) -> Iterator[Row]:
    for key, ranked, weights in zip(keys, clusters.tolist(), probabilities.tolist(), strict=True):
        answers = [TopicAnswer(names[c], p) for c, p in zip(ranked, weights, strict=True) if c >= 0]
        if answers:
            yield Row(key, level, answers, row_digest(key, level, answers))


def mark_of(manifest: Manifest, n_rows: int, digests: int) -> TopicVersion:
    """Make the mark of a version."""
    return TopicVersion(
        version=manifest.version,
        parent=manifest.parent,
        created_ms=manifest.created_ms,
        window_end_ms=manifest.window_end_ms,
        content_checksum=manifest.content_checksum,
        rows=n_rows,
        digest=digest_text(digests),
    )
