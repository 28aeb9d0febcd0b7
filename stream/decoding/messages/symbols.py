"""Texts that are no part of messages: names of enumerated values, appended to the messages for kernels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class Symbols:
    """Names of the enumerated values of all schemas so far, end to end.

    Attributes
    ----------
    text : bytearray     in UTF-8

    Examples
    --------
    >>> symbols = Symbols()
    >>> [array.tolist() for array in symbols.add(["rock", "soul"])], bytes(symbols.text)
    ([[0, 4], [4, 4]], b'rocksoul')
    """

    def __init__(self) -> None:
        self.text = bytearray()

    def add(self, names: Iterable[str]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Append names; gives where each begins and how many bytes it has."""
        starts, lengths = [], []
        for name in names:
            encoded = name.encode()
            starts.append(len(self.text))
            lengths.append(len(encoded))
            self.text += encoded
        return np.array(starts, np.int64), np.array(lengths, np.int32)
