"""Messages of a topic into event batches: parse, then decode columns. Knows no broker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.decoding.columns import DecodeOptions, candidate_columns
from stream.decoding.decoder import MAX_ISSUES, Decoder, RawRecords
from stream.decoding.messages.formats import MessageFormat
from stream.decoding.messages.opening import open_parser
from stream.events import EventBatch, Outcome, RecordIssue
from tidegate.clock import Clock


class MessageDecoder:
    """Makes events of one partition's messages.

    Parameters
    ----------
    options : DecodeOptions
    clock : Clock
    explains_all : bool     every record that is set aside gets an issue, but for NEGATIVE ones; else the first few
    format_ : MessageFormat    default: JSON

    Raises
    ------
    ConfigError
        As `stream.decoding.messages.opening.open_parser` does.
    """

    def __init__(
        self,
        options: DecodeOptions,
        clock: Clock,
        *,
        explains_all: bool = False,
        format_: MessageFormat | None = None,
    ) -> None:
        columns, candidates = candidate_columns(options)
        self._decoder = Decoder(options, columns, clock, explains_all=explains_all)
        self._parser = open_parser(format_ or MessageFormat(), candidates, columns.time, options.time_unit, clock)
        self._max_issues = None if explains_all else MAX_ISSUES

    @property
    def cluster_names(self) -> list[str]:
        """Names by code, so far."""
        return self._decoder.clusters.names

    def load_kernels(self) -> None:
        """Load what the first messages would otherwise wait for."""
        self._parser.load_kernels()

    def decode(
        self,
        values: Sequence[bytes],
        *,
        topic: str,
        partition: int,
        offsets: NDArray[np.int64],
        next_offset: int,
        at_end: bool = False,
    ) -> EventBatch:
        """Decode messages.

        Parameters
        ----------
        values : bytes of each message, b"" where it has none
        offsets : int64[n]      where they lie
        next_offset : int       where to go on after them

        Raises
        ------
        RegistryError
            If the messages' schemas are in a registry that does not answer.
        """
        rows = self._parser.decode(values)
        positions = rows.positions

        def place_of(row: int) -> str:
            return place_at(row if positions is None else int(positions[row]))

        def place_at(position: int) -> str:
            return f"{topic}[{partition}]@{offsets[position]}"

        unreadable = tuple(
            RecordIssue(
                Outcome.MALFORMED,
                place_at(at),
                f"the message is no readable {self._parser.noun} ({fault})",
                self._parser.mend,
                at,
            )
            for at, fault in rows.bad[: self._max_issues]
        )
        n_bad = len(rows.bad)
        records = RawRecords(rows.columns, len(values) - n_bad, place_of, unreadable, n_bad, positions)
        return self._decoder.decode(records, partition=partition, next_offset=next_offset, at_end=at_end)
