"""Loading compiled kernels before the first record: it takes seconds, and a partition should not wait for them."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.checkpoint import decode_segment, encode_columns
from stream.decoding.columns import DecodeOptions, candidate_columns
from stream.events import EventBatch
from stream.predictions import no_predictions
from stream.sequences import SequenceOptions, SequenceState


class _Decode(Protocol):
    def __call__(
        self, values: list[bytes], *, topic: str, partition: int, offsets: NDArray[np.int64], next_offset: int
    ) -> EventBatch: ...


def load_kernels(decode: _Decode, decoding: DecodeOptions, sequences: SequenceOptions) -> None:
    """Decode and count a few made-up records; nothing of it is kept.

    Parameters
    ----------
    decode : of a decoder that is not used for anything else
    """
    columns, _ = candidate_columns(decoding)
    record = dict.fromkeys(columns.rule, 0) | {columns.user: "1", columns.label: "a", columns.time: 0}
    value = msgspec.json.encode(record)
    decode([value, value], topic="", partition=0, offsets=np.arange(2), next_offset=2)
    users = np.full(3, 7, np.uint64)
    state = SequenceState(sequences)
    state.extend(users, np.arange(3, dtype=np.int32), np.arange(3), no_predictions())
    state.load(decode_segment(encode_columns(state.take_all())))
