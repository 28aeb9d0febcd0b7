"""Cluster ids of a run: dense, stored with it, and independent of how its partitions interleave.

A source names clusters in the order in which it happens to read them. Ids are handed out later, when events leave
the reorder buffer: in the order of first event time and, within one instant, of name. So a log read from a file
and the same log read from twelve partitions get the same ids.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tidegate.counts import MAX_CLUSTERS
from tidegate.errors import CatalogueError


class ArrivalNames:
    """Codes of cluster names in the order of arrival, for events that wait and may outlive their source object.

    Examples
    --------
    >>> names = ArrivalNames(["zoo"])
    >>> names.translate(np.array([0, 1], np.int32), ["art", "zoo"]).tolist(), names.names
    ([1, 0], ['zoo', 'art'])
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = list(names)
        self._code_of_name = {name: code for code, name in enumerate(self.names)}
        self._code_of_source_code = np.zeros(0, np.int32)

    def translate(self, codes: NDArray[np.int32], source_names: list[str]) -> NDArray[np.int32]:
        """Translate a source's codes (which point into `source_names`, a list that only grows) into ours: int32[n]."""
        unseen = source_names[self._code_of_source_code.shape[0] :]
        if unseen:
            self._code_of_source_code = np.concatenate([self._code_of_source_code, self.codes(unseen)])
        return self._code_of_source_code[codes]

    def codes(self, names: Iterable[str]) -> NDArray[np.int32]:
        """Codes of names, new ones handed out as needed: int32[n]."""
        return np.array([self._code(name) for name in names], np.int32)

    def _code(self, name: str) -> int:
        code = self._code_of_name.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code


class Catalogue:
    """Names and ids of the interest clusters that a run has seen or was given.

    Parameters
    ----------
    names : known from the start
    n_stored : int     how many of them the store knows already

    Examples
    --------
    >>> catalogue = Catalogue()
    >>> catalogue.ids(np.array([1, 0]), np.array([10, 10]), ["zoo", "art"]).tolist()
    [0, 1]
    >>> catalogue.names
    ['art', 'zoo']
    """

    def __init__(self, names: list[str] | None = None, *, n_stored: int = 0) -> None:
        self.names: list[str] = list(names or [])
        self._n_taken = n_stored
        self._id_of_name = {name: i for i, name in enumerate(self.names)}
        self._id_of_code = np.full(0, -1, np.int32)
        if len(self._id_of_name) != len(self.names):
            repeated = next(name for i, name in enumerate(self.names) if self._id_of_name[name] != i)
            raise CatalogueError(f"cluster {repeated!r} is named twice", "Give every cluster a name of its own")

    def ids(
        self, codes: NDArray[np.int32], times_ms: NDArray[np.int64], names_of_codes: list[str]
    ) -> NDArray[np.int32]:
        """Translate arrival codes into ids; new names get new ones.

        Parameters
        ----------
        codes : int32[n]       index into `names_of_codes`
        times_ms : int64[n]    ascending
        names_of_codes         may have grown since the last call

        Returns
        -------
        int32[n]

        Raises
        ------
        CatalogueError
            If there are more clusters than a packed key has room for.
        """
        n_known = self._id_of_code.shape[0]
        if len(names_of_codes) > n_known:
            more = [self._id_of_name.get(name, -1) for name in names_of_codes[n_known:]]
            self._id_of_code = np.concatenate([self._id_of_code, np.array(more, np.int32)])
        ids = self._id_of_code[codes]
        if ids.size and ids.min() < 0:
            is_new = ids < 0
            self._admit(codes[is_new], times_ms[is_new], names_of_codes)
            ids = self._id_of_code[codes]
        return ids

    def take_new(self) -> dict[int, str]:
        """Ids that were not stored yet, with their names; marks them as taken."""
        new = dict(enumerate(self.names[self._n_taken :], start=self._n_taken))
        self._n_taken = len(self.names)
        return new

    def take_first_seen(self) -> dict[int, int]:
        """Nothing: where one shard sees all events, ids are in the order of first event time already."""
        return {}

    def _admit(self, codes: NDArray[np.int32], times_ms: NDArray[np.int64], names_of_codes: list[str]) -> None:
        new_codes, first = np.unique(codes, return_index=True)
        arrivals = [(times_ms[at], names_of_codes[code], code) for code, at in zip(new_codes, first, strict=True)]
        for _, name, code in sorted(arrivals):
            if len(self.names) == MAX_CLUSTERS:
                raise CatalogueError(
                    f"more than {MAX_CLUSTERS} clusters, the latest {name!r}",
                    "Check that --cluster-column names a cluster, not an item",
                )
            self._id_of_code[code] = self._id_of_name[name] = len(self.names)
            self.names.append(name)
