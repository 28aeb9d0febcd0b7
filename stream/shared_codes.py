"""Codes of cluster names that all workers of a run agree on.

Whoever meets a name first has the store hand out its code; codes only grow. They say nothing about order: when a pane
is closed, its clusters get their ids in the order of first event time and then name (`stream.closing`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, insert, select

from stream.database import Database
from stream.reorder import BEGINNING_OF_TIME_MS
from stream.schema import clusters, runs
from tidegate.counts import MAX_CLUSTERS
from tidegate.errors import CatalogueError

_FEW = 16  # first sights that cost less to write than to compare


class SharedCodes:
    """What this process knows of a run's codes.

    Parameters
    ----------
    database, run_id
    known : names of the catalogue, where one is given: they come first, in its order
    """

    def __init__(self, database: Database, run_id: str, known: Sequence[str] = ()) -> None:
        self._database, self._run_id = database, run_id
        self._code_of_name: dict[str, int] = {}
        if known:
            self._register(known, first_ms=BEGINNING_OF_TIME_MS)

    def of_names(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Codes of names, from the store where they are new to this process: int32[n].

        Raises
        ------
        CatalogueError
            If there are more clusters than a packed key has room for.
        StoreError
            If the database refuses.
        """
        unknown = [name for name in dict.fromkeys(names) if name not in self._code_of_name]
        if unknown:
            self._register(unknown)
        return np.array([self._code_of_name[name] for name in names], np.int32)

    def first_seen(self) -> dict[int, int | None]:
        """Event time (ms) of the first committed event, by code."""
        mine = clusters.c.run_id == self._run_id
        with self._database.reading() as connection:
            rows = connection.execute(select(clusters.c.code, clusters.c.first_ms).where(mine))
            return {row.code: row.first_ms for row in rows}

    def _register(self, names: Sequence[str], first_ms: int | None = None) -> None:
        mine = clusters.c.run_id == self._run_id
        with self._database.writing() as connection:
            # One at a time: codes are dense.
            connection.execute(select(runs.c.run_id).where(runs.c.run_id == self._run_id).with_for_update())
            rows = connection.execute(select(clusters.c.name, clusters.c.code).where(mine)).all()
            known = {row.name: int(row.code) for row in rows}
            last = connection.scalar(select(func.max(clusters.c.code)).where(mine))
            code = -1 if last is None else int(last)
            new = []
            for number, name in enumerate(names):
                if name in known:
                    continue
                code += 1
                if code >= MAX_CLUSTERS:
                    raise CatalogueError(
                        f"more than {MAX_CLUSTERS} clusters, the latest {name!r}",
                        "Check that --cluster-column names a cluster, not an item",
                    )
                known[name] = code
                seen = None if first_ms is None else first_ms + number
                new.append({"run_id": self._run_id, "code": code, "name": name, "first_ms": seen})
            if new:
                connection.execute(insert(clusters), new)
        self._code_of_name.update(known)


class ShardCodes:
    """The codebook of one shard: the run's codes, and when this shard saw each cluster first."""

    def __init__(self, shared: SharedCodes) -> None:
        self._shared = shared
        self._code_of_arrival = np.zeros(0, np.int32)
        self._is_seen = np.zeros(0, np.bool_)
        self._first_seen: dict[int, int] = {}

    def ids(
        self, codes: NDArray[np.int32], times_ms: NDArray[np.int64], names_of_codes: list[str]
    ) -> NDArray[np.int32]:
        """Translate arrival codes (int32[n], ascending times) into the run's: int32[n]."""
        unseen = names_of_codes[self._code_of_arrival.shape[0] :]
        if unseen:
            # All names that have arrived, also those whose events still wait: a code is no promise of an event.
            self._code_of_arrival = np.concatenate([self._code_of_arrival, self._shared.of_names(unseen)])
            grown = np.zeros(int(self._code_of_arrival.max()) + 1, np.bool_)
            grown[: self._is_seen.shape[0]] = self._is_seen
            self._is_seen = grown
        result = self._code_of_arrival[codes]
        is_new = ~self._is_seen[result]
        if is_new.any():
            new, first = np.unique(result[is_new], return_index=True)
            self._first_seen.update(zip(new.tolist(), times_ms[is_new][first].tolist(), strict=True))
            self._is_seen[new] = True
        return result

    def take_new(self) -> dict[int, str]:
        """Nothing: codes are registered before they are used."""
        return {}

    def take_first_seen(self) -> dict[int, int]:
        """Event time of the first event by code, of codes first seen since the last call and not earlier by others.

        Raises
        ------
        StoreError
            If the database refuses; nothing was taken then.
        """
        # A shard that begins has seen nothing yet, but others mostly have.
        known = self._shared.first_seen() if len(self._first_seen) > _FEW else {}
        taken, self._first_seen = self._first_seen, {}
        return {code: ms for code, ms in taken.items() if (first := known.get(code)) is None or ms < first}
