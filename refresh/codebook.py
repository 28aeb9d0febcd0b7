"""The codebook: a code for each interest cluster, with spare codes for interests yet to appear.

A model that answers in codes of one token needs one prefill and one token. Engines score no more than 1,024 tokens of
their own choice, so the codes of a larger catalogue are two tokens, a high and a low one, and a code's probability is
the product of theirs. Codes are handed out by cluster id, so the codebook of a grown catalogue is the same as before as
long as it fits: the weights need no change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidegate.counts import MAX_CLUSTERS
from tidegate.errors import CatalogueError
from tidegate.hashing import cluster_seeds

NONE_CODE = "<none>"
"""Stands where a prompt has no c1 or no retrieved line, once for each token of a code."""

MAX_LEVEL_TOKENS = 1_024
"""Tokens that an engine can be asked to choose from: vLLM's limit of ``allowed_token_ids``."""

_MAX_LOW = 256
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


@lru_cache(maxsize=8)
def _numbered(letter: str, n: int) -> tuple[str, ...]:
    width = max(4, len(str(n - 1)))
    return tuple(f"<{letter}{number:0{width}d}>" for number in range(n))


def names_fingerprint(names: Sequence[str]) -> str:
    """SHA-256 over names in order, hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(list(names))).hexdigest()


@dataclass(frozen=True)
class Codebook:
    """Which code stands for which cluster.

    With one level a code is one token. With two it is a high and a low token, and cluster ``high x n_low + low`` has
    the code of both. An engine asks for the low one once for each high one, so few high tokens would be quickest; with
    more than 256 low ones, though, small models take several times as long to learn to copy a code.

    Attributes
    ----------
    names : tuple of str    the catalogue's clusters by id
    capacity : int          codes, used and spare
    n_levels : int          tokens of a code, 1 or 2

    Examples
    --------
    >>> book = Codebook.of(["cooking", "chess"])
    >>> book.codes[1], book.capacity
    ('<c0001>', 64)
    >>> Codebook.of([f"interest {n}" for n in range(1_650)]).codes[1_649]
    '<h0007> <l0004>'
    """

    names: tuple[str, ...]
    capacity: int
    n_levels: int = 1

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
        """Codebook of a catalogue: two levels above 1,024 clusters, the default spare codes where none are given."""
        n_levels = 1 if len(names) <= MAX_LEVEL_TOKENS else 2
        return cls(tuple(names), default_capacity(len(names)) if capacity is None else capacity, n_levels)

    @classmethod
    def of_fingerprint(cls, names: Sequence[str], capacity: int, fingerprint: str) -> Codebook | None:
        """Codebook that a model was taught; None where the fingerprint is of no codebook with so many codes."""
        books = (cls(tuple(names), capacity, n_levels) for n_levels in (1, 2))
        return next((book for book in books if book.fingerprint == fingerprint), None)

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
        return replace(self, names=tuple(names))

    @property
    def n_low(self) -> int:
        """Clusters that share a high token: all of them where there is one level."""
        return self.capacity if self.n_levels == 1 else -(-self.capacity // self._n_high)

    @property
    def _n_high(self) -> int:
        return -(-self.capacity // _MAX_LOW)

    @cached_property
    def levels(self) -> list[list[str]]:
        """Token texts of each level: the codes themselves, or high and low tokens."""
        if self.n_levels == 1:
            return [list(_numbered("c", self.capacity))]
        return [list(_numbered("h", self._n_high)), list(_numbered("l", self.n_low))]

    @cached_property
    def codes(self) -> list[str]:
        """All codes by cluster id, spare ones included; tokens are parted by a space."""
        if self.n_levels == 1:
            return self.levels[0]
        high, low = self.levels
        return [f"{high[cluster // self.n_low]} {low[cluster % self.n_low]}" for cluster in range(self.capacity)]

    @property
    def none(self) -> str:
        """What stands where there is no cluster; as many tokens as a code."""
        return " ".join([NONE_CODE] * self.n_levels)

    def digits(self, clusters: NDArray[np.int32]) -> NDArray[np.int64]:
        """Split ids into the number of their token in each level: int32[...] to int64[..., n_levels].

        Examples
        --------
        >>> Codebook((), 2_112, n_levels=2).digits(np.array([0, 234, 235], np.int32)).tolist()
        [[0, 0], [0, 234], [1, 0]]
        """
        low = clusters.astype(np.int64) % self.n_low
        return np.stack([low] if self.n_levels == 1 else [clusters.astype(np.int64) // self.n_low, low], axis=-1)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the codes: equal for catalogues of any size that share the codebook."""
        return hashlib.sha256("\n".join(self.codes).encode()).hexdigest()

    @cached_property
    def name_hashes(self) -> NDArray[np.uint64]:
        """xxh64 of each cluster's name, uint64[C + 1]; the last, reached by id -1, stands for none."""
        return np.append(cluster_seeds(list(self.names)), np.uint64(0))
