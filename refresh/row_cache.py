"""Rows that were inferred before: an equal row key is never inferred again.

One file a pane, written whole before its table is published. A crash in between costs no second call, and the count
of calls stays what it would have been: an entry of the same pane is the work of the run that crashed, not a saving.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tidegate.files import write_atomically

_FILE = "pane-{pane:012d}.npz"


@dataclass(frozen=True, slots=True)
class KnownRows:
    """What the cache knows of some row keys.

    Attributes
    ----------
    is_known : bool[n]
    is_free : bool[n]              known from an earlier pane: asking it costs no call
    clusters : int32[n, k]         -1 where not known
    probabilities : float32[n, k]
    """

    is_known: NDArray[np.bool_]
    is_free: NDArray[np.bool_]
    clusters: NDArray[np.int32]
    probabilities: NDArray[np.float32]


class RowCache:
    """Answers by row key, of one run.

    Parameters
    ----------
    folder : Path
        Created when the first rows are kept.
    top_n : int
        Answers kept of each row.
    """

    def __init__(self, folder: Path, top_n: int) -> None:
        self._folder = folder
        self._forget(top_n)
        for path in sorted(folder.glob("pane-*.npz")):
            self._load(path)

    def _forget(self, top_n: int) -> None:
        self._keys = np.zeros((0, 2), np.uint64)
        self._panes = np.zeros(0, np.int64)
        self._clusters = np.full((0, top_n), -1, np.int32)
        self._probabilities = np.zeros((0, top_n), np.float32)

    def __len__(self) -> int:
        return int(self._keys.shape[0])

    def find(self, keys: NDArray[np.uint64], pane: int) -> KnownRows:
        """Look row keys up, for an order of `pane`: uint64[n, 2]. `O(n log r)`."""
        n, k = keys.shape[0], self._clusters.shape[1]
        if not len(self):
            none = np.zeros(n, np.bool_)
            return KnownRows(none, none, np.full((n, k), -1, np.int32), np.zeros((n, k), np.float32))
        at = np.minimum(np.searchsorted(self._keys[:, 0], keys[:, 0]), len(self) - 1)
        # 64 of the 128 bits place a key; a clash in them would only cost a call, the other 64 keep it from lying.
        is_known = (self._keys[at] == keys).all(axis=1)
        return KnownRows(
            is_known=is_known,
            is_free=is_known & (self._panes[at] < pane),
            clusters=np.where(is_known[:, None], self._clusters[at], np.int32(-1)),
            probabilities=np.where(is_known[:, None], self._probabilities[at], np.float32(0)),
        )

    def keep(
        self,
        keys: NDArray[np.uint64],
        pane: int,
        clusters: NDArray[np.int32],
        probabilities: NDArray[np.float32],
    ) -> None:
        """Keep the rows that were inferred for `pane`, on disk before anything else.

        Parameters
        ----------
        keys : uint64[n, 2]             not known yet
        clusters : int32[n, k]
        probabilities : float32[n, k]
        """
        if not keys.shape[0]:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        earlier = self._panes == pane  # the pane's file is replaced, so what a crashed attempt left goes into it too
        columns = {
            "keys": np.concatenate([self._keys[earlier], keys]),
            "clusters": np.concatenate([self._clusters[earlier], clusters]),
            "probabilities": np.concatenate([self._probabilities[earlier], probabilities]),
        }
        content = io.BytesIO()
        np.savez(content, **columns)
        write_atomically(self._folder / _FILE.format(pane=pane), content.getvalue())
        self._add(keys, pane, clusters, probabilities)

    def clear(self) -> None:
        """Forget everything: a finished run starts over."""
        for path in self._folder.glob("pane-*.npz"):
            path.unlink()
        self._forget(self._clusters.shape[1])

    def _load(self, path: Path) -> None:
        try:
            # From memory: numpy leaves a file open that it finds to be no archive.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as columns:
                pane = int(path.stem.removeprefix("pane-"))
                self._add(columns["keys"], pane, columns["clusters"], columns["probabilities"])
        except (ValueError, KeyError, IndexError, OSError, EOFError, RuntimeError, BadZipFile):
            # A damaged file costs its rows a second call, never a wrong answer (zip entries have a CRC).
            path.unlink()

    def _add(
        self, keys: NDArray[np.uint64], pane: int, clusters: NDArray[np.int32], probabilities: NDArray[np.float32]
    ) -> None:
        all_keys = np.concatenate([self._keys, keys])
        order = np.lexsort((all_keys[:, 1], all_keys[:, 0]))
        panes = np.concatenate([self._panes, np.full(keys.shape[0], pane)])[order]
        all_clusters = np.concatenate([self._clusters, clusters])[order]
        all_probabilities = np.concatenate([self._probabilities, probabilities])[order]
        # Only when all of them fit together: a file of another shape is refused as a whole.
        self._keys, self._panes = all_keys[order], panes
        self._clusters, self._probabilities = all_clusters, all_probabilities
