"""The last complete window of a run, or of a log that no run has counted: counts, records, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from stream.closing import PaneClosing
from stream.database import Database
from stream.predictions import Predictions, no_predictions
from stream.run_reader import RunReader, run_id_of
from stream.sources import open_source
from stream.store import RunStore
from stream.worker import BatchAccount, StreamWorker
from tidegate.cli.history import History
from tidegate.cli.measuring import Measuring
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.cli.refresh_bars import RefreshBars
from tidegate.cli.stream_settings import (
    catalogue_of,
    decode_options,
    drift_options,
    kafka_properties,
    message_format,
    sequence_options,
    shard_options,
)
from tidegate.clock import Clock
from tidegate.config import RunSettings
from tidegate.contracts import encode
from tidegate.errors import RequestError
from tidegate.group_config import GroupSettings

# Runs that agree in these have counted the same, whatever they decide and whoever infers.
_COUNTING = (
    *("positive", "pane", "window", "gap", "lateness", "max_ahead", "dedup", "allow_return"),
    *("user_column", "item_column", "cluster_column", "time_column", "time_unit", "items", "catalogue"),
    *("event_id_column", "duplicates", "message_format"),
)


@dataclass(frozen=True, slots=True)
class LastWindow:
    """A window that is complete, and the run that has it.

    Attributes
    ----------
    run_id : str
    source : str
    measuring : Measuring        over the counts
    closing : PaneClosing        of the window's last pane
    record : PaneRecord          of that pane
    before : PaneRecord | None   of the pane before
    is_of_run : bool             a run in the store has counted it
    """

    run_id: str
    source: str
    measuring: Measuring
    closing: PaneClosing
    record: PaneRecord
    before: PaneRecord | None
    is_of_run: bool


@contextmanager
def open_last_window(
    settings: GroupSettings, run_id: str | None, bars: RefreshBars, clock: Clock
) -> Iterator[LastWindow]:
    """Find the run that has counted the source with these flags, or count the source now, into a store that is dropped.

    Parameters
    ----------
    run_id : the run that is meant, where several have counted the source with these flags

    Raises
    ------
    RequestError
        If there is no such run, several fit, or no window is complete yet.
    SourceError
        If the source cannot be read.
    """
    with ExitStack() as stack:
        catalogue = catalogue_of(settings)
        source = open_source(
            settings.source,
            decode_options(settings, catalogue),
            clock,
            follow=False,
            from_earliest=settings.from_earliest,
            kafka_properties=kafka_properties(settings),
            message_format=message_format(settings),
        )
        stack.enter_context(closing(source))
        reader = _reader_of(settings, source.identity, run_id)
        if reader is not None:
            stack.enter_context(closing(reader))
            yield _window_of(reader, settings, source.identity, is_of_run=True)
            return
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="tidegate-")))
        store = stack.enter_context(closing(RunStore(folder / "runs.db", source.identity, _plain_identity(settings))))
        worker = StreamWorker(
            source, store, shard_options(settings, sequence_options(settings)), known_clusters=catalogue
        )
        bars.begin(0, source.n_records_expected)
        _count(worker, store, _measuring(store, settings), bars)
        yield _window_of(store, settings, source.identity, is_of_run=False)


def _reader_of(settings: GroupSettings, source: str, run_id: str | None) -> RunReader | None:
    url = settings.store.get_secret_value() if settings.store else settings.home / "runs.db"
    if isinstance(url, Path) and not url.exists():
        if run_id is not None:
            raise RequestError(f"there is no run {run_id}: {url} is not there", "Check --home", place="--run")
        return None
    database = Database(url)
    try:
        known = _known_run(settings, source, RunReader.known_runs(database), run_id)
    except RequestError:
        database.close()
        raise
    if known is None:
        database.close()
        return None
    return RunReader(database, known)


def _known_run(
    settings: GroupSettings, source: str, runs: dict[str, tuple[str, str]], run_id: str | None
) -> str | None:
    """Choose the run that is meant: by its name, by all of its flags, or by those that counts depend on."""
    wanted = _counting_flags(settings.identity())
    fitting = [name for name, (of, flags) in runs.items() if of == source and _counting_flags(flags) == wanted]
    if run_id is not None:
        if run_id not in fitting:
            found = "it has another source or counts otherwise" if run_id in runs else "there is none of that name"
            listed = ", ".join(fitting) or "none"
            raise RequestError(
                f"run {run_id} is not meant by these flags: {found}", f"Those that fit: {listed}", place="--run"
            )
        return run_id
    exact = [run_id_of(source, flags) for flags in (_plain_identity(settings), settings.identity())]
    chosen = [name for name in exact if name in fitting] or fitting
    if len(chosen) > 1:
        raise RequestError(
            f"{len(chosen)} runs have counted this source with these flags",
            f"Name one of {', '.join(chosen)}",
            place="--run",
        )
    return chosen[0] if chosen else None


def _plain_identity(settings: GroupSettings) -> str:
    """Write the flags that a run of one process is known by."""
    return settings.identity().removeprefix("workers ")


def _counting_flags(flags: str) -> dict[str, object]:
    known: dict[str, object] = msgspec.json.decode(flags.removeprefix("workers "))
    return {name: known.get(name) for name in _COUNTING}


def _measuring(reader: RunReader, settings: RunSettings) -> Measuring:
    sequences = sequence_options(settings)
    return Measuring(reader, drift_options(settings), sequences.pane_ms, sequences.window_panes)


def _count(worker: StreamWorker, store: RunStore, measuring: Measuring, bars: RefreshBars) -> None:
    """Count a log to its end: nothing is decided, but evidence learns from pane to pane as in a run."""
    history = History(store, measuring.window_panes)
    last: list[PaneRecord] = []

    def on_pane(closed: PaneClosing) -> Predictions:
        names = store.cluster_names()
        evidence = history.evidence(closed.pane, closed.first_pane, names, last[-1].memory if last else None)
        record = PaneRecord(
            pane=closed.pane,
            window_end_ms=measuring.window_end_ms(closed.pane),
            memory=evidence.learned,
            n_clusters=len(names),
        )
        last.append(record)
        store.record_pane(closed.pane, encode(record))
        return no_predictions()

    def on_batch(batch: BatchAccount) -> None:
        bars.on_records(batch.n_records)

    worker.run(on_pane, no_predictions(), on_batch=on_batch)


def _window_of(reader: RunReader, settings: RunSettings, source: str, *, is_of_run: bool) -> LastWindow:
    measuring, bodies = _measuring(reader, settings), reader.records()
    panes = list(bodies)
    first_pane = reader.state().first_pane
    first_pane = first_pane if first_pane is not None else min(panes, default=0)
    if not panes or not measuring.is_full(panes[-1], first_pane):
        raise RequestError(
            f"no window is complete: {len(panes)} of {measuring.window_panes} panes are closed",
            "Give a longer log or a shorter --window, or let the run go on",
            place=source,
        )
    record = decode_record(bodies[panes[-1]])
    if record.report is None:
        record = msgspec.structs.replace(record, report=measuring.report(record.pane, first_pane))
    before = decode_record(bodies[panes[-2]]) if len(panes) > 1 else None
    return LastWindow(
        run_id=reader.run_id,
        source=source,
        measuring=measuring,
        closing=PaneClosing(record.pane, first_pane, is_last=False),
        record=record,
        before=before,
        is_of_run=is_of_run,
    )
