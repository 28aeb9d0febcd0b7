"""``tidegate decisions``: list what was decided and why, show one decision, make all of them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table

from refresh.row_cache import RowCache
from refresh.table_place import open_tables
from stream.alert_book import AlertBook
from stream.database import Database
from stream.run_reader import RunReader
from tidegate.cli.alert_assembly import alert_planning_of
from tidegate.cli.alert_planning import decision_of, result_of
from tidegate.cli.assembly import deciding_of
from tidegate.cli.deciding import is_published
from tidegate.cli.measuring import Measuring
from tidegate.cli.options import PIPED_WIDTH, home_option, store_option
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.cli.replaying import Outcome, Replaying
from tidegate.cli.stream_settings import drift_options, sequence_options
from tidegate.clock import SystemClock, iso_utc
from tidegate.config import RunSettings, load_settings
from tidegate.contracts import RefreshResult
from tidegate.durations import parse_duration
from tidegate.errors import RequestError

_F = TypeVar("_F", bound=Callable[..., Any])


def with_run(function: _F) -> _F:
    """Add the options that say which run is meant."""
    home = home_option("Folder of the store, tables and rows.")
    store = store_option("URL of the store; default: runs.db in the home folder.")
    run = click.option("--run", "run_id", help="The run; default: the only one there is.")
    return home(store(run(function)))


@click.group("decisions")
def decisions_group() -> None:
    """List, show and replay what was decided at each pane's end."""


@decisions_group.command("list")
@with_run
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_decisions(home: Path, store: str | None, run_id: str | None, as_json: bool) -> None:
    """List all decisions of a run, oldest first; those on alerts follow that of the pane before them."""
    with opened_run(home, store, run_id) as (reader, _):
        records = _with_alerts(reader)
    decided = [record for record in records if record.decision is not None]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([_listed(record) for record in decided]), indent=2))
        return
    table = Table("window end", "trigger", "rows", "calls", "outcome", "flag", "why")
    for row in map(_listed, decided):
        table.add_row(*("–" if value is None else str(value) for value in row.values()))
    _console().print(table)


@decisions_group.command("show")
@with_run
@click.argument("window_end")
def show_decision(home: Path, store: str | None, run_id: str | None, window_end: str) -> None:
    """Write the whole record of the pane that ends at WINDOW_END (as `list` shows it) as JSON."""
    with opened_run(home, store, run_id) as (reader, _):
        for body in reader.records().values():
            if iso_utc(decode_record(body).window_end_ms) == window_end:
                click.echo(msgspec.json.format(body, indent=2))
                return
    raise RequestError(
        f"no pane ends at {window_end}", "Take a window end as `tidegate decisions list` shows it", place="WINDOW_END"
    )


@decisions_group.command("replay")
@with_run
def replay_decisions(home: Path, store: str | None, run_id: str | None) -> int:
    """Make every decision again from its record, and compare. Exit code 1 where one cannot be made the same."""
    n_unlike = 0
    console = _console()
    with opened_run(home, store, run_id) as (reader, settings):
        for replay in _replaying(reader, settings).replay():
            n_unlike += replay.outcome is not Outcome.SAME
            console.print(f"{iso_utc(replay.record.window_end_ms)}  {replay.outcome:10}  {replay.detail}", markup=False)
    if n_unlike:
        click.echo(f"decisions that could not be made the same: {n_unlike}", err=True)
    return int(n_unlike > 0)


def _replaying(reader: RunReader, settings: RunSettings) -> Replaying:
    sequences = sequence_options(settings)
    measuring = Measuring(
        reader, drift_options(settings), parse_duration(settings.pane, name="--pane"), sequences.window_panes
    )
    cache = RowCache(settings.home / "rows" / reader.run_id, settings.top_n)
    tables = open_tables(settings.home, settings.tables, SystemClock())
    deciding = deciding_of(settings, measuring, tables, sequences, cache)
    return Replaying(reader, deciding, alert_planning_of(settings, deciding))


def _with_alerts(reader: RunReader) -> list[PaneRecord]:
    """Read the records of all panes, those on alerts among them."""
    records = []
    book = AlertBook(reader.database, reader.run_id)
    for pane, body in reader.records().items():
        records.append(decode_record(body))
        answered = book.answered(pane)
        records += [msgspec.structs.replace(decision_of(each).record, result=result_of(each)) for each in answered]
    return records


@contextmanager
def opened_run(home: Path, store: str | None, run_id: str | None) -> Iterator[tuple[RunReader, RunSettings]]:
    """Open the run that is meant, with the flags that it is known by.

    Raises
    ------
    RequestError
        If there is no store, no such run, or more than one and none is named.
    """
    path = home / "runs.db"
    if store is None and not path.exists():
        raise RequestError(f"there is no store {path}", "Give the --home or the --store of the run", place="--home")
    with closing(Database(store or path)) as database:
        known = RunReader.known_runs(database)
        if run_id is None and len(known) == 1:
            run_id = next(iter(known))
        if run_id not in known:
            found = f"there is no run {run_id}" if run_id else f"there are {len(known)} runs"
            listed = ", ".join(f"{each} ({source})" for each, (source, _) in known.items()) or "none yet"
            raise RequestError(found, f"Name one with --run: {listed}", place="--run")
        source, flags = known[run_id]
        own = msgspec.json.decode(flags.removeprefix("workers "))  # those of roles say that they are of a shared run
        settings: RunSettings = load_settings({**own, "source": source, "home": home})
        yield RunReader(database, run_id), settings


def _listed(record: PaneRecord) -> dict[str, Any]:
    decision, result = record.decision, record.result
    assert decision is not None
    order = decision.order
    return {
        "window_end": iso_utc(record.window_end_ms),
        "trigger": str(order.trigger) if order else None,
        "rows": None if order is None or order.all_rows else len(order.rows),
        "llm_calls": result.llm_calls if result else 0,
        "outcome": result.outcome if result else None,
        "flag": str(decision.flag.reason) if decision.flag else None,
        "explanation": decision.explanation if result is None else f"{decision.explanation}{_refusal(result)}",
    }


def _refusal(result: RefreshResult) -> str:
    """Say why what was decided does not serve; nothing where it does."""
    if is_published(result):
        return ""
    failed = "; ".join(f"{each.gate}: {each.sentence}" for each in result.gates if not each.is_passed)
    return f". Not published, version {result.table_version or 'none'} goes on serving: {result.problem or failed}"


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)
