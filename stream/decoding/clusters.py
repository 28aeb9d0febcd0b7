"""Cluster names as dense codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream.decoding.item_map import ItemClusters
from stream.decoding.texts import as_text

MISSING = -1
"""Code of a record without a label."""
UNKNOWN = -2
"""Code of a label that has no place in the catalogue or the item map."""


class ClusterDictionary:
    """Codes 0, 1, 2, … for names, in the order in which they were first seen. Grows, never reorders.

    Parameters
    ----------
    known : frozenset of str, optional
        The only names that get a code; None takes all.

    Examples
    --------
    >>> dictionary = ClusterDictionary(known=frozenset({"news", "music"}))
    >>> [dictionary.code_of(name) for name in ("music", "sport", "news", "music")]
    [0, -2, 1, 0]
    """

    def __init__(self, known: frozenset[str] | None = None) -> None:
        self.names: list[str] = []
        self._known = known
        self._code_of: dict[str, int] = {}

    def code_of(self, name: str) -> int:
        """Code of a name, `UNKNOWN` if it is not among those known."""
        code = self._code_of.get(name)
        if code is None:
            if self._known is not None and name not in self._known:
                return UNKNOWN
            code = self._code_of[name] = len(self.names)
            self.names.append(name)
        return code

    def codes(self, labels: Any, items: ItemClusters | None = None) -> NDArray[np.int32]:
        """Code a column: each distinct value is looked up once.

        Parameters
        ----------
        labels : pyarrow.Array[n]       cluster names, or item ids where `items` is given
        items : ItemClusters, optional

        Returns
        -------
        int32[n]
            `MISSING` for nulls and blanks, `UNKNOWN` for what has no place.
        """
        indices, distinct = _distinct(labels)
        # The last entry is where nulls look, and stays MISSING.
        code_of_index = np.full(len(distinct) + 1, MISSING, dtype=np.int32)
        for index in _first_seen(indices):
            code_of_index[index] = self._code_of_label(distinct[index].as_py(), items)
        at: NDArray[np.int32] = np.asarray(indices.fill_null(len(distinct)))
        return code_of_index[at]

    def _code_of_label(self, label: str | None, items: ItemClusters | None) -> int:
        text = (label or "").strip()
        if not text:
            return MISSING
        name = text if items is None else items.cluster_of(text)
        return UNKNOWN if name is None else self.code_of(name)


def _distinct(labels: Any) -> tuple[Any, Any]:
    encoded = labels if hasattr(labels, "indices") else labels.dictionary_encode()
    return encoded.indices, as_text(encoded.dictionary)


def _first_seen(indices: Any) -> Iterable[int]:
    """List the indices that do occur: a file's dictionary also holds values of records that are not in this batch."""
    found: list[int] = pc.unique(indices).drop_null().to_pylist()
    return found
