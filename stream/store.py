"""The store of a run that one process counts: one shard of all partitions, panes closed by the same process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import update

from stream.checkpoint import counts_of_bytes
from stream.database import Database, put_rows
from stream.fine_tune_book import add_flagged
from stream.pane_merge import merge_parts
from stream.run_reader import run_id_of
from stream.schema import WHOLE_RUN, pane_parts, pane_records, runs
from stream.shard_store import ShardStore, open_run
from tidegate.contracts import FineTune
from tidegate.counts import BucketedCounts


class RunStore(ShardStore):
    """One run's part of the store, owned by this process until another one opens the same run.

    Parameters
    ----------
    store : Database, or the path or URL of one
    source, flags : str    what the run is known by

    Attributes
    ----------
    run_id : str       hash of source and flags
    resumed : bool     an unfinished run of the same source and flags was found

    Raises
    ------
    StoreError
        If the database cannot be opened, is no store or has a newer schema.
    """

    def __init__(self, store: Database | str | Path, source: str, flags: str) -> None:
        database = store if isinstance(store, Database) else Database(store)
        run_id = run_id_of(source, flags)
        self.resumed = open_run(database, run_id, source, flags)
        super().__init__(database, run_id, WHOLE_RUN)

    def stats(self) -> dict[int, NDArray[np.int64]]:
        """Figures by pane, ascending: int64[7] each."""
        return {pane: np.frombuffer(figures, np.int64) for pane, figures in self.shard_stats().items()}

    def counts(self, first_pane: int, last_pane: int) -> BucketedCounts:
        """Transitions of the panes `first_pane` … `last_pane`, both included, whether closed or not."""
        open_panes = self._rows(pane_parts, pane_parts.c.pane, pane_parts.c.pane.between(first_pane, last_pane))
        parts = [counts_of_bytes(row.keys, row.counts) for row in open_panes]
        return BucketedCounts.merge([super().counts(first_pane, last_pane), *parts])

    def record_pane(self, pane: int, body: bytes, flagged: FineTune | None = None) -> None:
        """Keep what was decided at the end of `pane`, with the fine-tune that it flagged, and merge its counts."""
        number = self._commit_number + 1
        with self.database.writing() as connection:
            if self._advance(connection, number):
                merge_parts(connection, self.run_id, pane)
                put_rows(connection, pane_records, [{"run_id": self.run_id, "pane": pane, "body": body}])
                if flagged is not None:
                    add_flagged(connection, flagged)
        self._commit_number = number

    def finish(self) -> None:
        """Mark the run as finished: the next one of the same name starts over."""
        number = self._commit_number + 1
        with self.database.writing() as connection:
            if self._advance(connection, number):
                connection.execute(
                    update(runs).where(runs.c.run_id == self.run_id).values(is_finished=True, has_ended=True)
                )
        self._commit_number = number
