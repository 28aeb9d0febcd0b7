"""One version of the table, ready to be asked: single pairs, many at once, by ids or by names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, cast

import numpy as np

from refresh.table import TransitionTable
from refresh.table_rows import (
    LEVEL_BACKOFF,
    LEVEL_NONE,
    LEVEL_PAIR,
    Float32s,
    Int8s,
    Int32s,
    Int64s,
    rank_answers,
    rank_unseen_answers,
)
from tidegate.counts import pack_pairs
from tidegate.errors import RequestError
from tidegate.jit import kernel

DENSE_CELLS = 16_000_000  # 4,000 clusters, 64 MB; beyond it a pair is found by binary search
Level = Literal["none", "backoff", "pair"]
LEVELS: dict[int, Level] = {LEVEL_NONE: "none", LEVEL_BACKOFF: "backoff", LEVEL_PAIR: "pair"}


class LookupAnswer(NamedTuple):
    """What one pair is answered: clusters best first, their probabilities, and the level they come from."""

    version: int
    clusters: tuple[int, ...]
    probabilities: tuple[float, ...]
    level: Level
    """``pair``, ``backoff`` or ``none``; one answer never mixes levels."""


class BatchAnswer(NamedTuple):
    """What many pairs are answered.

    ``clusters`` is int32[n] (-1 = none), ``probabilities`` float32[n] and ``levels`` int8[n] (keys of `LEVELS`);
    from `ServedTable.many_ranked` the first two are ``[n, k]``.
    """

    version: int
    clusters: Int32s
    probabilities: Float32s
    levels: Int8s


class Histories(NamedTuple):
    """Clusters to pass over, by pair: pair i's are ``clusters[starts[i]:starts[i + 1]]`` (int64[n + 1], int32[m]).

    Examples
    --------
    >>> Histories.of([[3, 1], [], [2]]).starts.tolist()
    [0, 2, 2, 3]
    """

    starts: Int64s
    clusters: Int32s

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Histories:
        """Lay lists one behind the other."""
        starts = np.zeros(len(lists) + 1, dtype=np.int64)
        np.cumsum([len(each) for each in lists], out=starts[1:])
        return cls(starts, np.array([cluster for each in lists for cluster in each], dtype=np.int32))


@kernel
def find_rows_dense(c1: Int32s, c2: Int32s, index: Int32s, n_clusters: int, rows: Int64s) -> None:
    """Row of each pair by a dense index. `O(n)`, allocates nothing.

    Parameters
    ----------
    c1, c2 : int32[n]
    index : int32[C * C]        row of pair ``c1 * C + c2``, -1 = none
    rows : int64[n]             receives the rows, -1 = none or not in the catalogue
    """
    for i in range(c1.shape[0]):
        is_known = 0 <= c1[i] < n_clusters and 0 <= c2[i] < n_clusters
        rows[i] = index[np.int64(c1[i]) * n_clusters + c2[i]] if is_known else -1


@kernel
def fill_dense(pairs: Int64s, n_clusters: int, index: Int32s) -> None:
    """Note the row of each pair. `O(r)`, allocates nothing, holds no lock that answers wait for.

    Parameters
    ----------
    pairs : int64[r]            pair keys of the catalogue
    index : int32[C * C]        receives row numbers at ``c1 * C + c2``
    """
    for row in range(pairs.shape[0]):
        index[(pairs[row] >> 16) * n_clusters + (pairs[row] & 0xFFFF)] = row


class ServedTable:
    """One version, ready to be asked: an immutable snapshot, safe to share between threads.

    Parameters
    ----------
    version : int
        0 where no version serves yet.
    table : TransitionTable
    dense_cells : int
        Largest ``C * C`` for which pairs are found by a dense index.
    """

    def __init__(self, version: int, table: TransitionTable, dense_cells: int = DENSE_CELLS) -> None:
        self.version = version
        self.table = table
        self.cluster_names = table.cluster_names
        self.n_clusters = len(table.cluster_names)
        self.id_of_name = {name: cluster for cluster, name in enumerate(table.cluster_names)}
        self._dense: Int32s | None = None
        if self.n_clusters**2 <= dense_cells:
            self._dense = np.full(self.n_clusters**2, -1, dtype=np.int32)
            fill_dense(table.pairs, self.n_clusters, self._dense)
        # One value of a memoryview is a tenth of what one of an array costs, and single answers read three.
        self._top_n = table.top_n
        self._row_of = None if self._dense is None else self._dense.data
        self._best = table.clusters.reshape(-1).data
        self._best_weight = cast("memoryview[float]", table.probabilities.reshape(-1).data)

    def one(self, c1: int, c2: int, n: int = 1, exclude: Collection[int] = ()) -> LookupAnswer:
        """Answer one pair. `O(top_n)` with the dense index.

        Parameters
        ----------
        c1, c2 : int
            May be clusters that this version does not know (a catalogue grows): no answer for a new `c2`, the
            backoff of `c2` for a new `c1`.
        n : int
            Answers wanted; fewer come where the row has fewer.
        exclude : Collection[int]
            Clusters to pass over, such as those the user has just seen.
        """
        table, n_clusters = self.table, self.n_clusters
        if not 0 <= c2 < n_clusters:
            return LookupAnswer(self.version, (), (), "none")
        row = -1
        if 0 <= c1 < n_clusters:
            row = self._row(c1, c2) if self._row_of is None else self._row_of[c1 * n_clusters + c2]
        if row >= 0:
            at = row * self._top_n
            if n == 1 and not exclude and (best := self._best[at]) >= 0:
                return tuple.__new__(LookupAnswer, (self.version, (best,), (self._best_weight[at],), "pair"))
            ranked = self._best[at : at + self._top_n].tolist()
            weights = self._best_weight[at : at + self._top_n].tolist()
            if not exclude and ranked[-1] >= 0:  # a row never names its own pair: nothing is to be passed over
                return tuple.__new__(LookupAnswer, (self.version, tuple(ranked[:n]), tuple(weights[:n]), "pair"))
            answer = self._taken(ranked, weights, (c1, c2), n, exclude, "pair")
            if answer is not None:
                return answer
        ranked, weights = table.backoff_clusters[c2].tolist(), table.backoff_probabilities[c2].tolist()
        answer = self._taken(ranked, weights, (c1, c2), n, exclude, "backoff")
        return answer or LookupAnswer(self.version, (), (), "none")

    def _row(self, c1: int, c2: int) -> int:
        pairs, key = self.table.pairs, int(c1) << 16 | int(c2)
        at = int(pairs.searchsorted(key))
        return at if at < pairs.shape[0] and pairs[at] == key else -1

    def _taken(
        self,
        ranked: Sequence[int],
        weights: Sequence[float],
        context: tuple[int, int],
        n: int,
        exclude: Collection[int],
        level: Level,
    ) -> LookupAnswer | None:
        taken = [
            (cluster, weight)
            for cluster, weight in zip(ranked, weights, strict=True)
            if cluster >= 0 and cluster not in context and cluster not in exclude
        ][:n]
        if not taken:
            return None
        clusters, probabilities = zip(*taken, strict=True)
        return LookupAnswer(self.version, clusters, probabilities, level)

    def many_ranked(self, c1: Int32s, c2: Int32s, n: int, histories: Histories | None = None) -> BatchAnswer:
        """Answer many pairs with up to `n` clusters each, as `one` does. `O(pairs)` with the dense index.

        Parameters
        ----------
        histories : Histories, optional
            Clusters to pass over, of each pair its own.

        Raises
        ------
        RequestError
            If there are not as many histories as pairs.
        """
        c1, c2 = np.ascontiguousarray(c1, dtype=np.int32), np.ascontiguousarray(c2, dtype=np.int32)
        clusters = np.full((c1.shape[0], n), -1, dtype=np.int32)
        probabilities = np.zeros((c1.shape[0], n), dtype=np.float32)
        levels = np.empty(c1.shape[0], dtype=np.int8)
        asked = (c1, c2, self._rows(c1, c2), *self.table.levels())
        if histories is None:
            rank_answers(*asked, clusters, probabilities, levels)
            return BatchAnswer(self.version, clusters, probabilities, levels)
        if histories.starts.shape[0] != c1.shape[0] + 1:
            found = f"{histories.starts.shape[0] - 1} histories for {c1.shape[0]} pairs, one each is required"
            raise RequestError(found, "Give an empty history where there is none", place="history")
        rank_unseen_answers(*asked, histories.starts, histories.clusters, clusters, probabilities, levels)
        return BatchAnswer(self.version, clusters, probabilities, levels)

    def many(self, c1: Int32s, c2: Int32s) -> BatchAnswer:
        """Answer many pairs with the best cluster each: arrays of shape ``[n]``."""
        answer = self.many_ranked(c1, c2, 1)
        return answer._replace(clusters=answer.clusters[:, 0], probabilities=answer.probabilities[:, 0])

    def _rows(self, c1: Int32s, c2: Int32s) -> Int64s:
        if self._dense is not None:
            rows = np.empty(c1.shape[0], dtype=np.int64)
            find_rows_dense(c1, c2, self._dense, self.n_clusters, rows)
            return rows
        is_known = (c1 >= 0) & (c1 < self.n_clusters) & (c2 >= 0) & (c2 < self.n_clusters)
        return np.where(is_known, self.table.rows_of(pack_pairs(c1.astype(np.int64), c2.astype(np.int64))), -1)

    def id_of(self, cluster: int | str, place: str) -> int:
        """Id of a cluster named by its name or id.

        Raises
        ------
        RequestError
            If this version's catalogue does not have it; `place` says which input named it.
        """
        found = self.id_of_name.get(cluster) if isinstance(cluster, str) else cluster
        if found is None or not 0 <= found < self.n_clusters:
            raise RequestError(
                f"{cluster!r} is no cluster of table version {self.version}",
                f"Name one of its {self.n_clusters} clusters, or an id from 0 to {self.n_clusters - 1}",
                place=place,
            )
        return found

    def one_named(self, name1: str, name2: str, n: int = 1, exclude: Collection[str] = ()) -> tuple[str, ...]:
        """Answer a pair of names with names, best first.

        Raises
        ------
        RequestError
            If a name is not in this version's catalogue.
        """
        ids = {self.id_of(name, "exclude") for name in exclude}
        answer = self.one(self.id_of(name1, "c1"), self.id_of(name2, "c2"), n, ids)
        return tuple(self.cluster_names[cluster] for cluster in answer.clusters)
