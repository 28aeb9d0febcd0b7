"""More processes on this host for an order in chunks: each opens the engine for itself and joins in."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from refresh.bulk import BulkOptions
from refresh.bulk.worker import help_with
from tidegate.cli.engine_keeper import open_keeper
from tidegate.config import RunSettings
from tidegate.counts import BucketedCounts

_LOG = logging.getLogger(__name__)
_GOODBYE_SECONDS = 1.0


@contextmanager
def helpers(n_helpers: int, arguments: Callable[[], tuple[Any, ...]]) -> Iterator[Callable[[Path], None]]:
    """Yield what starts the helpers once an order is begun; those that still run at the end are told to stop.

    Parameters
    ----------
    arguments : of `help_out` behind the folder, asked for when the engine is open
    """
    # Spawned, not forked: a fork of a process whose threads compute may hang.
    context, started = multiprocessing.get_context("spawn"), list[SpawnProcess]()

    def start(folder: Path) -> None:
        for number in range(n_helpers):
            process = context.Process(
                target=help_out, args=(folder, *arguments()), name=f"refresh-helper-{number + 1}", daemon=True
            )
            process.start()
            started.append(process)

    try:
        yield start
    finally:
        for process in started:
            process.join(_GOODBYE_SECONDS)  # all shards are there: it is ending, or has not even opened its engine
            if process.is_alive():
                process.terminate()
                process.join()
            elif process.exitcode:
                _LOG.warning(
                    "%s failed with exit code %d; the other workers did its part", process.name, process.exitcode
                )


def help_out(folder: Path, settings: RunSettings, run_id: str, names: list[str], pane: int, model: str | None) -> None:
    """Open the engine and work on the order in `folder` until it is done.

    Raises
    ------
    EngineError, OrderError
        If that fails; the others go on.
    """
    keeper = open_keeper(settings, run_id)
    engine = keeper.engine(names, BucketedCounts.empty(), pane, model)
    help_with(folder, engine, BulkOptions(chunk_rows=settings.chunk_rows))
