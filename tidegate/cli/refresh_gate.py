"""``tidegate refresh-gate``: look at candidate tables that did not pass their gates, and let one serve all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table

from refresh.gates import failed
from refresh.gates.aside import Candidates, KeptCandidate
from refresh.table_place import open_tables
from refresh.table_store import TableStore
from tidegate.cli.options import PIPED_WIDTH, home_option, tables_option
from tidegate.cli.people import user_name
from tidegate.cli.table import printable
from tidegate.clock import SystemClock, iso_utc
from tidegate.errors import RequestError

_F = TypeVar("_F", bound=Callable[..., Any])


def _with_home(function: _F) -> _F:
    """Add the options that every command shares."""
    home = home_option("Folder of the run; candidates are under its candidates/.")
    tables = tables_option("Place of the table versions; default: tables in the home folder.")
    return home(tables(click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")(function)))


@click.group("refresh-gate")
def refresh_gate_group() -> None:
    """List and show candidate tables that did not pass their gates, and let one serve all the same."""


@refresh_gate_group.command("list")
@_with_home
def list_candidates(home: Path, tables: str | None, as_json: bool) -> None:
    """List the candidates that are kept aside, the newest first."""
    serving = open_tables(home, tables).current()
    rows = [_about(kept, serving) for kept in Candidates(home / "candidates").all()]
    if as_json:
        _print_json(rows)
        return
    printed = Table("order", "window end", "failed", "replaces", "state")
    for row in rows:
        replaced = "–" if row["replaces"] is None else f"version {row['replaces']}"
        printed.add_row(printable(row["order_id"]), row["window_end"], ", ".join(row["failed"]), replaced, row["state"])
    _console().print(printed)


@refresh_gate_group.command("show")
@click.argument("order")
@_with_home
def show_candidate(order: str, home: Path, tables: str | None, as_json: bool) -> None:
    """Show what each gate found of the candidate of ORDER, and required."""
    serving = open_tables(home, tables).current()
    kept = Candidates(home / "candidates").of_order(order)
    about = _about(kept, serving)
    if as_json:
        _print_json({**about, "gates": msgspec.to_builtins(kept.gates)})
        return
    printed = Table("gate", "", "found", "required", "")
    for verdict in kept.gates:
        figures = ("–" if value is None else f"{value:,.4g}" for value in (verdict.found, verdict.required))
        passed = "passed" if verdict.is_passed else "FAILED"
        printed.add_row(verdict.gate.replace("_", " "), passed, *figures, printable(verdict.sentence))
    _console().print(printed)
    click.echo(f"order {printable(order)}, window ending {about['window_end']}: {about['state']}")


@refresh_gate_group.command("override")
@click.argument("order")
@click.option("--reason", required=True, help="Why the candidate may serve although it failed, for the history.")
@_with_home
def override(order: str, reason: str, home: Path, tables: str | None, as_json: bool) -> None:
    """Publish the candidate of ORDER all the same; it is verified first. A second time changes nothing."""
    if not reason.strip():
        raise RequestError("the reason is empty", "Say why the candidate may serve", place="--reason")
    clock = SystemClock()
    candidates = Candidates(home / "candidates", clock)
    version = publish_candidate(candidates, open_tables(home, tables, clock), order, reason, clock.now_ms())
    if as_json:
        _print_json({"order_id": order, "version": version, "reason": candidates.of_order(order).why})
        return
    click.echo(f"version {version} serves")


def publish_candidate(
    candidates: Candidates, tables: TableStore, order: str, reason: str, now_ms: int, who: str | None = None
) -> int:
    """Let the candidate of an order serve; returns its version.

    Parameters
    ----------
    who : for the histories; default: the user of this process

    1. Verify it.
    2. Publish it on top of the version that it was to replace: a version already, it is found again.
    3. Note who did it, when and why, beside the candidate; the history of the pointer has it by then.

    Raises
    ------
    RequestError
        If there is no such candidate, or another version serves by now than the one that it was to replace.
    CorruptTableError
        If the candidate is not what was kept; nothing changes.
    """
    kept = candidates.of_order(order)
    manifest, table = candidates.load(kept)  # 1
    serving = tables.current()
    if serving is not None and kept.replaces != serving and not _is_this(tables, serving, kept):
        was = "no version" if kept.replaces is None else f"version {kept.replaces}"
        became = f" (it was published as version {kept.published_as} since)" if kept.published_as else ""
        raise RequestError(
            f"version {serving} serves, and the candidate was made to replace {was}{became}",
            "Let the next refresh decide: it starts from what serves now; the rows that were paid for are kept",
            place=f"order {order}",
        )
    version = tables.publish(  # 2
        table,
        window_end_ms=manifest.window_end_ms,
        trigger=manifest.trigger,
        reasons=manifest.reasons,
        engine_name=manifest.engine_name,
        engine_fingerprint=manifest.engine_fingerprint,
        template=manifest.template,
        action="override",
        why=f"gates {', '.join(failed(kept.gates))} of order {order} overridden: {reason}",
        who=who,
        on_top_of=kept.replaces,
    )
    if kept.published_as != version:
        candidates.note_published(kept, version=version, who=who or user_name(), why=reason, now_ms=now_ms)  # 3
    return version


def _is_this(tables: TableStore, version: int, kept: KeptCandidate) -> bool:
    """Whether a version is the candidate: it was published, and the process may have died before it was noted."""
    found = tables.manifest(version)
    return (found.content_checksum, found.window_end_ms) == (kept.content_checksum, kept.window_end_ms)


def _about(kept: KeptCandidate, serving: int | None) -> dict[str, Any]:
    if kept.published_as is not None:
        state = f"published as version {kept.published_as} by {kept.who}: {kept.why}"
    elif kept.replaces == serving or serving is None:
        state = "can be published"
    else:
        state = f"version {serving} serves by now"
    return {
        "order_id": kept.order_id,
        "candidate": kept.number,
        "window_end": iso_utc(kept.window_end_ms),
        "failed": list(failed(kept.gates)),
        "replaces": kept.replaces,
        "published_as": kept.published_as,
        "who": kept.who,
        "why": kept.why,
        "published": None if kept.published_ms is None else iso_utc(kept.published_ms),
        "state": printable(state),
    }


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
