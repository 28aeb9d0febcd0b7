"""Messages laid end to end, for kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream.decoding.messages.memory import N_SPARE


@dataclass(frozen=True, slots=True)
class Joined:
    """Messages, or names, end to end.

    Attributes
    ----------
    data : uint8[*]           with `N_SPARE` bytes after the last one
    offsets : int32[n + 1]    where each begins
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int32]

    @classmethod
    def of(cls, values: Sequence[bytes]) -> Joined:
        """Join values. `O(bytes)`.

        Examples
        --------
        >>> Joined.of([b"ab", b"", b"c"]).offsets.tolist()
        [0, 2, 2, 3]
        """
        _, offsets, data = pa.array([*values, bytes(N_SPARE)], pa.binary()).buffers()
        return cls(np.frombuffer(data, np.uint8), np.frombuffer(offsets, np.int32, len(values) + 1))
