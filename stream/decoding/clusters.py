"""Cluster names as dense codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream.decoding.id_hashes import hash_texts
from stream.decoding.item_map import ItemClusters
from stream.decoding.texts import as_text, text_buffers
from tidegate.hashing import KeyIndex

MISSING = -1
"""Code of a record without a label."""
UNKNOWN = -2
"""Code of a label that has no place in the catalogue or the item map."""
MAX_REMEMBERED = 1 << 20
"""Labels that are remembered as they are written; beyond that, memory of them begins anew."""


class ClusterDictionary:
    """Codes 0, 1, 2, … for names, in the order in which they were first seen. Grows, never reorders.

    Labels are known again by their xxh64, as users are: that two of a hundred thousand share one has a chance of one in
    a few billion.

    Parameters
    ----------
    known : frozenset of str, optional
        The only names that get a code; None takes all.
    items : ItemClusters, optional
        Labels are items, and these their clusters.

    Examples
    --------
    >>> dictionary = ClusterDictionary(known=frozenset({"news", "music"}))
    >>> [dictionary.code_of(name) for name in ("music", "sport", "news", "music")]
    [0, -2, 1, 0]
    """

    def __init__(self, known: frozenset[str] | None = None, items: ItemClusters | None = None) -> None:
        self.names: list[str] = []
        self._known, self._items = known, items
        self._code_of: dict[str, int] = {}
        self._forget_labels()

    def _forget_labels(self) -> None:
        self._labels = KeyIndex()
        self._code_of_slot = np.zeros(0, np.int32)

    def code_of(self, name: str) -> int:
        """Code of a name, `UNKNOWN` if it is not among those known."""
        code = self._code_of.get(name)
        if code is None:
            if self._known is not None and name not in self._known:
                return UNKNOWN
            code = self._code_of[name] = len(self.names)
            self.names.append(name)
        return code

    def codes(self, labels: Any) -> NDArray[np.int32]:
        """Code a column. `O(bytes)`, and a look into the dictionary for each label that is new.

        Parameters
        ----------
        labels : pyarrow.Array[n]       cluster names, or item ids

        Returns
        -------
        int32[n]
            `MISSING` for nulls and blanks, `UNKNOWN` for what has no place.
        """
        if pa.types.is_dictionary(labels.type):
            return self._codes_of_dictionary(labels)
        texts = as_text(labels)
        is_there = np.empty(len(texts), np.bool_)
        hashes = hash_texts(*text_buffers(texts), is_there)
        if len(self._labels) > MAX_REMEMBERED:
            self._forget_labels()
        slots = self._labels.slots(hashes[is_there])
        if len(self._labels) > self._code_of_slot.shape[0]:
            self._learn(texts, slots, np.flatnonzero(is_there))
        codes = np.full(len(texts), MISSING, np.int32)
        codes[is_there] = self._code_of_slot[slots]
        return codes

    def _learn(self, texts: Any, slots: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Give codes to labels that are new: slots were handed out in the order in which they were seen."""
        known, first = np.unique(slots, return_index=True)
        new = texts.take(pa.array(rows[first[known >= self._code_of_slot.shape[0]]])).to_pylist()
        codes = np.array([self._code_of_label(label) for label in new], np.int32)
        self._code_of_slot = np.concatenate([self._code_of_slot, codes])

    def _codes_of_dictionary(self, labels: Any) -> NDArray[np.int32]:
        """Code what occurs: a file's dictionary also holds values of records that are not in this batch."""
        distinct = as_text(labels.dictionary)
        # The last entry is where nulls look, and stays MISSING.
        code_of_index = np.full(len(distinct) + 1, MISSING, dtype=np.int32)
        for index in pc.unique(labels.indices).drop_null().to_pylist():
            code_of_index[index] = self._code_of_label(distinct[index].as_py())
        at: NDArray[np.int32] = np.asarray(labels.indices.fill_null(len(distinct)))
        return code_of_index[at]

    def _code_of_label(self, label: str | None) -> int:
        text = (label or "").strip()
        if not text:
            return MISSING
        name = text if self._items is None else self._items.cluster_of(text)
        return UNKNOWN if name is None else self.code_of(name)
