"""What all files have in common as sources: one partition, a path for a name, nothing to pause."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stream.decoding.columns import ColumnMap, DecodeOptions
from stream.decoding.decoder import Decoder
from stream.events import EventBatch
from tidegate.clock import Clock
from tidegate.errors import RequestError, SourceError

FILE_PARTITION = 0
BATCH_RECORDS = 262_144
"""Records of a batch: enough to make the work per batch negligible, and about 20 MiB of decoded columns."""


def existing_file(path: str | Path) -> Path:
    """Make a path absolute.

    Raises
    ------
    RequestError
        If there is no file.
    """
    absolute = Path(path).absolute()
    if not absolute.is_file():
        found = "it is a folder, a file is needed" if absolute.is_dir() else "there is no such file"
        raise RequestError(found, "Check the path of --source", place=str(absolute))
    return absolute


class FileSource:
    """The part of a source that does not depend on the file's format.

    Parameters
    ----------
    path : Path
    options : DecodeOptions
    columns : ColumnMap
    clock : Clock
    """

    def __init__(self, path: Path, options: DecodeOptions, columns: ColumnMap, clock: Clock) -> None:
        self._path = path
        self._columns = columns
        self._decoder = Decoder(options, columns, clock)

    @property
    def identity(self) -> str:
        """The absolute path."""
        return str(self._path)

    @property
    def cluster_names(self) -> list[str]:
        """Names by code, so far."""
        return self._decoder.clusters.names

    @property
    def partitions(self) -> tuple[int, ...]:
        """The one partition of a file."""
        return (FILE_PARTITION,)

    @property
    def n_records_expected(self) -> int | None:
        """None: only reading the file tells."""
        return None

    def pause_ahead_of(self, time_ms: int | None) -> None:
        """Do nothing: one partition cannot run ahead of another."""

    def close(self) -> None:
        """Do nothing: files are open only while batches are read."""

    def _start(self, start: Mapping[int, int]) -> int:
        return start.get(FILE_PARTITION, 0)

    def _refuse_beyond_end(self, start: int, n_records: int) -> None:
        if start > n_records:
            raise SourceError(
                f"the run stood at record {start}, the file has only {n_records}",
                "Bring back the file that the run began with, or start the run over",
                place=self.identity,
            )


def end_batch(partition: int, next_offset: int) -> EventBatch:
    """Say that a partition has no more records."""
    return EventBatch(
        partition=partition,
        next_offset=next_offset,
        n_records=0,
        users=np.empty(0, dtype=np.uint64),
        clusters=np.empty(0, dtype=np.int32),
        times_ms=np.empty(0, dtype=np.int64),
        latest_ms=None,
        at_end=True,
    )
