"""The transition table: pair -> predicted next clusters, immutable, with a backoff level for pairs without a row.

A table is changed by building the next one (`TransitionTable.with_changes`), never in place: versions share nothing
that could move under a reader, and loaded arrays are read-only memory maps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refresh.table_rows import (
    NO_CLUSTER,
    ROWS_MEND,
    BackoffRows,
    Float32s,
    Int32s,
    Int64s,
    PairRows,
    UInt64s,
    rank_answers,
    require_distinct,
    require_sound,
)
from tidegate.counts import MAX_CLUSTERS, pack_pairs, unpack_pairs
from tidegate.errors import TableError

_NO_PAIRS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class TransitionTable:
    """One version's content.

    A pair is answered by its own row, else by the backoff row of `c2`, else not at all; a row that names no cluster
    counts as no row, and a backoff answer that equals `c1` or `c2` is passed over for the next rank.

    Attributes
    ----------
    cluster_names : tuple[str, ...]             C names, by cluster id
    pairs : int64[r]                            pair keys, strictly ascending
    clusters : int32[r, top_n]                  see `PairRows` for this and the next four
    probabilities : float32[r, top_n]
    row_keys : uint64[r, 2]
    contexts : int32[r]
    refreshed_ms : int64[r]
    backoff_clusters : int32[C, top_n]          row `c2`; all -1 = no row
    backoff_probabilities : float32[C, top_n]
    backoff_row_keys : uint64[C, 2]

    Raises
    ------
    TableError
        If an array has another dtype or shape (checked on every construction, `O(1)`).

    Examples
    --------
    >>> table = TransitionTable.empty(("jazz", "rock", "soul"), top_n=1)
    >>> table.predict(np.array([0], dtype=np.int32), np.array([1], dtype=np.int32)).tolist()
    [-1]
    """

    cluster_names: tuple[str, ...]
    pairs: Int64s
    clusters: Int32s
    probabilities: Float32s
    row_keys: UInt64s
    contexts: Int32s
    refreshed_ms: Int64s
    backoff_clusters: Int32s
    backoff_probabilities: Float32s
    backoff_row_keys: UInt64s

    def __post_init__(self) -> None:
        n_rows, n_clusters = self.pairs.shape[0], len(self.cluster_names)
        top_n = self.clusters.shape[-1]
        if n_clusters > MAX_CLUSTERS:
            raise TableError(f"{n_clusters} clusters, at most {MAX_CLUSTERS} fit a pair key", ROWS_MEND)
        if top_n < 1:
            raise TableError("rows have no room for an answer, 1 or more is required", ROWS_MEND)
        required: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
            "pairs": (np.int64, (n_rows,)),
            "clusters": (np.int32, (n_rows, top_n)),
            "probabilities": (np.float32, (n_rows, top_n)),
            "row_keys": (np.uint64, (n_rows, 2)),
            "contexts": (np.int32, (n_rows,)),
            "refreshed_ms": (np.int64, (n_rows,)),
            "backoff_clusters": (np.int32, (n_clusters, top_n)),
            "backoff_probabilities": (np.float32, (n_clusters, top_n)),
            "backoff_row_keys": (np.uint64, (n_clusters, 2)),
        }
        for name, (dtype, shape) in required.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                found = f"{array.dtype}{list(array.shape)}, required is {np.dtype(dtype)}{list(shape)}"
                raise TableError(f"{name} is {found}", ROWS_MEND)

    @classmethod
    def empty(cls, cluster_names: tuple[str, ...], top_n: int = 5) -> TransitionTable:
        """Make a table with no row on either level."""
        n_clusters = len(cluster_names)
        return cls(
            cluster_names=cluster_names,
            pairs=_NO_PAIRS,
            clusters=np.zeros((0, top_n), dtype=np.int32),
            probabilities=np.zeros((0, top_n), dtype=np.float32),
            row_keys=np.zeros((0, 2), dtype=np.uint64),
            contexts=np.zeros(0, dtype=np.int32),
            refreshed_ms=np.zeros(0, dtype=np.int64),
            backoff_clusters=np.full((n_clusters, top_n), NO_CLUSTER, dtype=np.int32),
            backoff_probabilities=np.zeros((n_clusters, top_n), dtype=np.float32),
            backoff_row_keys=np.zeros((n_clusters, 2), dtype=np.uint64),
        )

    @property
    def top_n(self) -> int:
        """Answers a row has room for."""
        return int(self.clusters.shape[1])

    @property
    def n_rows(self) -> int:
        """Rows of pairs."""
        return int(self.pairs.shape[0])

    @property
    def n_backoff_rows(self) -> int:
        """Clusters that have a backoff row. `O(C)`."""
        return int(np.count_nonzero((self.backoff_clusters >= 0).any(axis=1)))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Every array by its name, in the order of definition."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "cluster_names"}

    def rows_of(self, pairs: Int64s) -> Int64s:
        """Row of each pair key, -1 = none: int64[n]. `O(n log r)`."""
        if not self.n_rows:
            return np.full(pairs.shape[0], -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.pairs, pairs), self.n_rows - 1)
        return np.where(self.pairs[at] == pairs, at, -1)

    def predict(self, c1: Int32s, c2: Int32s) -> Int32s:
        """Best next cluster of each pair, -1 = no answer. `O(n log r)`.

        Parameters
        ----------
        c1, c2 : int32[n]
            May be clusters that the table does not know (a catalogue grows): no answer for a new `c2`, the backoff
            of `c2` for a new `c1`.

        Returns
        -------
        int32[n]
        """
        n = c1.shape[0]
        out = np.full((n, 1), NO_CLUSTER, dtype=np.int32)
        ignored_weights, ignored_levels = np.zeros((n, 1), dtype=np.float32), np.zeros(n, dtype=np.int8)
        c1, c2 = c1.astype(np.int32, copy=False), c2.astype(np.int32, copy=False)
        known = (c1 >= 0) & (c1 < len(self.cluster_names)) & (c2 >= 0) & (c2 < len(self.cluster_names))
        rows = np.where(known, self.rows_of(pack_pairs(c1.astype(np.int64), c2.astype(np.int64))), -1)
        rank_answers(c1, c2, rows, *self.levels(), out, ignored_weights, ignored_levels)
        return out[:, 0]

    def levels(self) -> tuple[Int32s, Float32s, Int32s, Float32s]:
        """Both levels' clusters and probabilities, as `rank_answers` takes them."""
        return self.clusters, self.probabilities, self.backoff_clusters, self.backoff_probabilities

    def with_changes(
        self,
        upserts: PairRows | None = None,
        retired_pairs: Int64s = _NO_PAIRS,
        *,
        backoff: BackoffRows | None = None,
        cluster_names: tuple[str, ...] | None = None,
    ) -> TransitionTable:
        """Build the next table. `O(r + k log r)`.

        Parameters
        ----------
        upserts : PairRows, optional
            Rows to add or replace.
        retired_pairs : int64[m]
            Rows to drop; those that are not there are passed over.
        backoff : BackoffRows, optional
            Backoff rows to set.
        cluster_names : tuple[str, ...], optional
            The catalogue where it has grown; must begin with the names known so far.

        Raises
        ------
        TableError
            If a row names an unknown cluster, its own context or one cluster twice, or is given twice; if a pair is
            both upserted and retired; if the new names do not extend the old ones.
        """
        table = self if cluster_names is None else self._with_names(cluster_names)
        if backoff is not None:
            table = table._with_backoff(backoff)
        if upserts is None:
            return table._without(retired_pairs) if retired_pairs.size else table
        if retired_pairs.size and np.isin(retired_pairs, upserts.pairs).any():
            raise TableError("a pair is both upserted and retired, it can be one of them", ROWS_MEND)
        return table._without(np.concatenate([retired_pairs, upserts.pairs]))._with_new(upserts)

    def _with_names(self, cluster_names: tuple[str, ...]) -> TransitionTable:
        n_known, n_new = len(self.cluster_names), len(cluster_names) - len(self.cluster_names)
        if cluster_names[:n_known] != self.cluster_names:
            raise TableError(
                "the new cluster names do not begin with the table's own, so its ids would change their meaning",
                "Start a new table for another catalogue",
            )
        grown = TransitionTable.empty(cluster_names[n_known:], self.top_n) if n_new else None
        if grown is None:
            return self
        return replace(
            self,
            cluster_names=cluster_names,
            backoff_clusters=np.concatenate([self.backoff_clusters, grown.backoff_clusters]),
            backoff_probabilities=np.concatenate([self.backoff_probabilities, grown.backoff_probabilities]),
            backoff_row_keys=np.concatenate([self.backoff_row_keys, grown.backoff_row_keys]),
        )

    def _with_backoff(self, rows: BackoffRows) -> TransitionTable:
        self._require_width(rows.clusters, rows.probabilities, rows.row_keys)
        require_distinct(rows.c2, "backoff row")
        context = rows.c2.astype(np.int64)
        require_sound(rows.clusters, context, context, len(self.cluster_names))
        clusters, probabilities = self.backoff_clusters.copy(), self.backoff_probabilities.copy()
        row_keys = self.backoff_row_keys.copy()
        clusters[rows.c2], probabilities[rows.c2], row_keys[rows.c2] = rows.clusters, rows.probabilities, rows.row_keys
        return replace(self, backoff_clusters=clusters, backoff_probabilities=probabilities, backoff_row_keys=row_keys)

    def _without(self, pairs: Int64s) -> TransitionTable:
        at = self.rows_of(pairs)
        kept = np.ones(self.n_rows, dtype=np.bool_)
        kept[at[at >= 0]] = False
        changes: dict[str, Any] = {name: getattr(self, name)[kept] for name in PairRows.__dataclass_fields__}
        return replace(self, **changes)

    def _with_new(self, rows: PairRows) -> TransitionTable:
        """Merge rows of pairs that are not in the table."""
        self._require_width(rows.clusters, rows.probabilities, rows.row_keys)
        require_distinct(rows.pairs, "pair")
        c1, c2 = unpack_pairs(rows.pairs)
        require_sound(rows.clusters, c1.astype(np.int64), c2.astype(np.int64), len(self.cluster_names))
        order = np.argsort(rows.pairs)
        at = np.searchsorted(self.pairs, rows.pairs[order]) + np.arange(order.shape[0])
        is_old = np.ones(self.n_rows + order.shape[0], dtype=np.bool_)
        is_old[at] = False
        changes: dict[str, Any] = {}
        for name in PairRows.__dataclass_fields__:
            old, new = getattr(self, name), getattr(rows, name)
            merged = np.empty((is_old.shape[0], *old.shape[1:]), dtype=old.dtype)
            merged[is_old], merged[at] = old, new[order]
            changes[name] = merged
        return replace(self, **changes)

    def _require_width(self, clusters: Int32s, probabilities: Float32s, row_keys: UInt64s) -> None:
        for found, width in ((clusters, self.top_n), (probabilities, self.top_n), (row_keys, 2)):
            if found.shape != (clusters.shape[0], width):
                shapes = f"{list(found.shape)}, required is {[clusters.shape[0], width]}"
                raise TableError(f"rows have the shape {shapes}", ROWS_MEND)

    def content_checksum(self) -> str:
        """SHA-256 of all that the table answers with and why, in hexadecimal; times are left out. `O(r)`.

        Hashed are the names (each length-prefixed) and every array but `refreshed_ms`: its name, dtype, shape and
        little-endian bytes in C order.
        """
        digest = hashlib.sha256(b"tidegate-table 1")
        for chunk in self._canonical_chunks():
            digest.update(chunk)
        return digest.hexdigest()

    def _canonical_chunks(self) -> Iterator[bytes | memoryview]:
        for name in self.cluster_names:
            encoded = name.encode()
            yield len(encoded).to_bytes(8, "little") + encoded
        for name, array in self.arrays().items():
            if name != "refreshed_ms":
                canonical = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
                yield f"{name} {canonical.dtype.str} {canonical.shape}".encode()
                yield canonical.reshape(-1).view(np.uint8).data
