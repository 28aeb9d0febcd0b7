"""The codebook: one single-token code per interest cluster, with spare codes for interests yet to appear.

A model that answers in codes needs one prefill and one token. Codes are handed out by cluster id, so the codebook of a
grown catalogue is the same as before as long as it fits: the weights need no change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidegate.counts import MAX_CLUSTERS
from tidegate.errors import CatalogueError
from tidegate.hashing import cluster_seeds

NONE_CODE = "<none>"
"""Stands where a prompt has no c1 or no retrieved line."""

_STEP = 64  # capacities are multiples of this, so that a catalogue that grows by a few keeps its codebook
_HEADROOM = 1.25


def default_capacity(n_clusters: int) -> int:
    """Codes for `n_clusters` and a quarter more, rounded up to a multiple of 64.

    Examples
    --------
    >>> default_capacity(42), default_capacity(64), default_capacity(1650)
    (64, 128, 2112)
    """
    return min(MAX_CLUSTERS, max(_STEP, -int(-n_clusters * _HEADROOM // _STEP) * _STEP))


def code_texts(capacity: int) -> list[str]:
    """All codes of a codebook by cluster id, ``<c0000>`` first."""
    width = max(4, len(str(capacity - 1)))
    return [f"<c{cluster:0{width}d}>" for cluster in range(capacity)]


def names_fingerprint(names: Sequence[str]) -> str:
    """SHA-256 over names in order, hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(list(names))).hexdigest()


@dataclass(frozen=True)
class Codebook:
    """Which code stands for which cluster.

    Attributes
    ----------
    names : tuple of str    the catalogue's clusters by id
    capacity : int          codes, used and spare

    Examples
    --------
    >>> book = Codebook.of(["cooking", "chess"])
    >>> book.codes[1], book.capacity
    ('<c0001>', 64)
    """

    names: tuple[str, ...]
    capacity: int

    def __post_init__(self) -> None:
        """Refuse a catalogue that does not fit."""
        if len(self.names) > self.capacity:
            raise CatalogueError(
                f"The catalogue has {len(self.names)} clusters, the codebook {self.capacity} codes",
                "Fine-tune a model for the larger catalogue: its codebook grows with it",
            )
        if self.capacity > MAX_CLUSTERS:
            raise CatalogueError(
                f"A codebook of {self.capacity} codes was asked for, {MAX_CLUSTERS} is the most",
                "Merge interest clusters until they fit",
            )

    @classmethod
    def of(cls, names: Sequence[str], capacity: int | None = None) -> Codebook:
        """Codebook of a catalogue, with the default spare codes where `capacity` is not given."""
        return cls(tuple(names), default_capacity(len(names)) if capacity is None else capacity)

    def grown(self, names: Sequence[str]) -> Codebook:
        """Return the codebook of the catalogue as it is now; the known clusters must be where they were.

        Raises
        ------
        CatalogueError
            If a known cluster has another name now, or the catalogue outgrew the codes.
        """
        for cluster, (known, now) in enumerate(zip(self.names, names, strict=False)):
            if known != now:
                raise CatalogueError(
                    f"Cluster {cluster} is {now!r} in the catalogue and {known!r} in the codebook",
                    "Use the catalogue that the model was taught with, or fine-tune one for this catalogue",
                )
        return Codebook(tuple(names), self.capacity)

    @cached_property
    def codes(self) -> list[str]:
        """All codes by cluster id, spare ones included."""
        return code_texts(self.capacity)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the codes: equal for catalogues of any size that share the codebook."""
        return hashlib.sha256("\n".join(self.codes).encode()).hexdigest()

    @cached_property
    def name_hashes(self) -> NDArray[np.uint64]:
        """xxh64 of each cluster's name, uint64[C + 1]; the last, reached by id -1, stands for none."""
        return np.append(cluster_seeds(list(self.names)), np.uint64(0))
