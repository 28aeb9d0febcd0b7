"""Rows that were inferred before: an equal row key is never inferred again.

One file a pane, written whole before its table is published. A crash in between costs no second call, and the count
of calls stays what it would have been: an entry of the same pane is the work of the run that crashed, not a saving.
Orders that are being inferred have a folder each beside these files (`refresh.bulk`).
"""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import OrderError
from tidegate.files import write_atomically

_FILE, _ORDERS = "pane-{pane:012d}.npz", "orders"


@dataclass(frozen=True, slots=True)
class KnownRows:
    """What the cache knows of some row keys.

    Attributes
    ----------
    is_known : bool[n]
    is_free : bool[n]              known from an earlier pane: asking it costs no call
    clusters : int32[n, k]         -1 where not known
    probabilities : float32[n, k]
    label_mass : float32[n]        not a number where not known
    """

    is_known: NDArray[np.bool_]
    is_free: NDArray[np.bool_]
    clusters: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    label_mass: NDArray[np.float32]


class RowCache:
    """Answers by row key, of one run.

    Parameters
    ----------
    folder : Path or None
        Created when the first rows are kept; None keeps them in memory only.
    top_n : int
        Answers kept of each row.
    """

    def __init__(self, folder: Path | None, top_n: int) -> None:
        self._folder = folder
        self._forget(top_n)
        self.catch_up()

    @property
    def orders(self) -> Path | None:
        """Folder of the orders that are being inferred; None where rows are kept in memory only."""
        return None if self._folder is None else self._folder / _ORDERS

    def catch_up(self) -> None:
        """Read what another process has kept since."""
        for path in self._paths():
            if self._files.get(path.name) != _stamp(path):
                self._load(path)

    def _forget(self, top_n: int) -> None:
        self._keys = np.zeros((0, 2), np.uint64)
        self._panes = np.zeros(0, np.int64)
        self._clusters = np.full((0, top_n), -1, np.int32)
        self._probabilities = np.zeros((0, top_n), np.float32)
        self._label_mass = np.zeros(0, np.float32)
        self._contexts: dict[int, NDArray[np.int64]] = {}
        self._files: dict[str, tuple[int, int] | None] = {}

    def __len__(self) -> int:
        return int(self._keys.shape[0])

    def find(self, keys: NDArray[np.uint64], pane: int) -> KnownRows:
        """Look row keys up, for an order of `pane`: uint64[n, 2]. `O(n log r)`."""
        n, k = keys.shape[0], self._clusters.shape[1]
        if not len(self):
            none = np.zeros(n, np.bool_)
            unknown = np.full(n, np.nan, np.float32)
            return KnownRows(none, none, np.full((n, k), -1, np.int32), np.zeros((n, k), np.float32), unknown)
        at = np.minimum(np.searchsorted(self._keys[:, 0], keys[:, 0]), len(self) - 1)
        # 64 of the 128 bits place a key; a clash in them would only cost a call, the other 64 keep it from lying.
        is_known = (self._keys[at] == keys).all(axis=1)
        return KnownRows(
            is_known=is_known,
            is_free=is_known & (self._panes[at] < pane),
            clusters=np.where(is_known[:, None], self._clusters[at], np.int32(-1)),
            probabilities=np.where(is_known[:, None], self._probabilities[at], np.float32(0)),
            label_mass=np.where(is_known, self._label_mass[at], np.float32(np.nan)),
        )

    def knows(
        self, pairs: NDArray[np.int64], retrieved: NDArray[np.int32], before_pane: int, from_pane: int = 0
    ) -> NDArray[np.bool_]:
        """Tell which pairs were inferred before a pane with which first cluster of the retrieved line: bool[n].

        What a policy may expect to have for nothing; whether it does is decided by the row key.

        Parameters
        ----------
        pairs : int64[n]
        retrieved : int32[n]
        from_pane : what was inferred before was answered by other weights
        """
        known = [contexts for pane, contexts in self._contexts.items() if from_pane <= pane < before_pane]
        if not known:
            return np.zeros(pairs.shape[0], np.bool_)
        return np.isin(context_codes(pairs, retrieved), np.concatenate(known))

    def keep(
        self,
        keys: NDArray[np.uint64],
        pane: int,
        clusters: NDArray[np.int32],
        probabilities: NDArray[np.float32],
        contexts: NDArray[np.int64] | None = None,
        label_mass: NDArray[np.float32] | None = None,
    ) -> None:
        """Keep the rows that were inferred for `pane`, on disk before anything else.

        Parameters
        ----------
        keys : uint64[n, 2]             not known yet
        clusters : int32[n, k]
        probabilities : float32[n, k]
        contexts : int64[n], optional   `context_codes` of the rows
        label_mass : float32[n], optional    not a number where an engine does not tell

        Raises
        ------
        OrderError
            If they cannot be written.
        """
        if not keys.shape[0]:
            return
        label_mass = np.full(keys.shape[0], np.nan, np.float32) if label_mass is None else label_mass
        self.catch_up()  # of several processes that keep rows of one pane, none loses those of another
        is_new = ~self.find(keys, pane).is_known
        keys, clusters, probabilities = keys[is_new], clusters[is_new], probabilities[is_new]
        label_mass = label_mass[is_new]
        earlier = self._panes == pane  # the pane's file is replaced, so what a crashed attempt left goes into it too
        contexts = np.zeros(0, np.int64) if contexts is None else contexts
        columns = {
            "keys": np.concatenate([self._keys[earlier], keys]),
            "clusters": np.concatenate([self._clusters[earlier], clusters]),
            "probabilities": np.concatenate([self._probabilities[earlier], probabilities]),
            "label_mass": np.concatenate([self._label_mass[earlier], label_mass]),
            "contexts": _distinct(np.concatenate([self._contexts.get(pane, contexts), contexts])),
        }
        if self._folder is not None:
            self._write(self._folder / _FILE.format(pane=pane), columns)
        self._add(keys, pane, clusters, probabilities, label_mass)
        self._contexts[pane] = columns["contexts"]

    def _write(self, path: Path, columns: dict[str, NDArray[Any]]) -> None:
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **columns)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content.getvalue())
        except OSError as error:
            raise OrderError(
                f"inferred rows cannot be written: {error.strerror or error}",
                "Make room (or mend the folder) and give the same command again",
                place=str(path),
            ) from error
        self._files[path.name] = _stamp(path)

    def clear(self) -> None:
        """Forget everything: a finished run starts over."""
        for path in self._paths():
            path.unlink()
        if self.orders is not None:
            shutil.rmtree(self.orders, ignore_errors=True)
        self._forget(self._clusters.shape[1])

    def _paths(self) -> list[Path]:
        return [] if self._folder is None else sorted(self._folder.glob("pane-*.npz"))

    def _load(self, path: Path) -> None:
        stamp = _stamp(path)  # before it is read: what is written meanwhile is read again
        try:
            # From memory: numpy leaves a file open that it finds to be no archive.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as columns:
                pane = int(path.stem.removeprefix("pane-"))
                keys = columns["keys"]
                # Files from before these were kept lack them; all is read before anything is taken over.
                contexts = columns.get("contexts", np.zeros(0, np.int64))
                label_mass = columns.get("label_mass", np.full(keys.shape[0], np.nan, np.float32))
                is_new = ~self.find(keys, pane).is_known
                clusters, probabilities = columns["clusters"][is_new], columns["probabilities"][is_new]
                self._add(keys[is_new], pane, clusters, probabilities, label_mass[is_new])
            self._contexts[pane] = contexts
            self._files[path.name] = stamp
        except (ValueError, KeyError, IndexError, OSError, EOFError, RuntimeError, BadZipFile):
            # A damaged file costs its rows a second call, never a wrong answer (zip entries have a CRC).
            path.unlink(missing_ok=True)

    def _add(
        self,
        keys: NDArray[np.uint64],
        pane: int,
        clusters: NDArray[np.int32],
        probabilities: NDArray[np.float32],
        label_mass: NDArray[np.float32],
    ) -> None:
        if any(column.shape[0] != keys.shape[0] for column in (clusters, probabilities, label_mass)):
            raise ValueError("columns of different lengths")  # refused as a whole by whoever reads the file
        all_keys = np.concatenate([self._keys, keys])
        order = _order_of(all_keys)
        panes = np.concatenate([self._panes, np.full(keys.shape[0], pane)])[order]
        all_clusters = np.concatenate([self._clusters, clusters])[order]
        all_probabilities = np.concatenate([self._probabilities, probabilities])[order]
        all_label_mass = np.concatenate([self._label_mass, label_mass])[order]
        # Only when all of them fit together: a file of another shape is refused as a whole.
        self._keys, self._panes = all_keys[order], panes
        self._clusters, self._probabilities, self._label_mass = all_clusters, all_probabilities, all_label_mass


def _order_of(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Order of keys, uint64[n, 2]. `O(n log n)`; the second words are looked at only where first ones are equal."""
    order = np.argsort(keys[:, 0])
    first = keys[order, 0]
    return np.lexsort((keys[:, 1], keys[:, 0])) if (first[1:] == first[:-1]).any() else order


def _distinct(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distinct codes, ascending. `O(n log n)`; `np.unique` hashes, which takes five times as long."""
    ascending = np.sort(codes)
    return ascending[np.r_[True, ascending[1:] != ascending[:-1]]] if codes.size else ascending


def _stamp(path: Path) -> tuple[int, int] | None:
    """Tell what changes when a file is replaced; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def context_codes(pairs: NDArray[np.int64], retrieved: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pack pairs and the first cluster of their retrieved lines into one number each: int64[n]."""
    return np.asarray(pairs << 16 | np.maximum(retrieved, 0), np.int64)
