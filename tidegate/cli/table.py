"""``tidegate table``: list, show, compare, verify and roll back table versions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from refresh.served_table import ServedTable
from refresh.table import TransitionTable
from refresh.table_manifest import Manifest
from refresh.table_place import open_tables
from refresh.table_store import TableStore
from tidegate.cli.options import PIPED_WIDTH, home_option, tables_option
from tidegate.cli.table_changes import changes_between, ranked
from tidegate.cli.version_output import print_json, show_verified
from tidegate.clock import iso_utc
from tidegate.counts import unpack_pairs
from tidegate.errors import CorruptTableError, RequestError

_F = TypeVar("_F", bound=Callable[..., Any])


def _with_store(function: _F) -> _F:
    """Add the options that every command shares."""
    home = home_option("Folder of the embedded store; tables are under its tables/.")
    tables = tables_option("Folder or URL of the versions; default: tables/ in the home folder.")
    return home(tables(click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")(function)))


def _store(home: Path, tables: str | None) -> TableStore:
    return open_tables(home, tables)


@click.group("table")
def table_group() -> None:
    """List, show, compare, verify and roll back table versions."""


@table_group.command("list")
@_with_store
def list_versions(home: Path, tables: str | None, as_json: bool) -> None:
    """List all versions, newest first."""
    store = _store(home, tables)
    current = store.current()
    rows = [_listed(store, version, current) for version in reversed(store.numbers())]
    if as_json:
        print_json(rows)
        return
    columns = (
        "version",
        "serves",
        "parent",
        "created",
        "window end",
        "trigger",
        "engine",
        "rows",
        "backoff",
        "changed",
    )
    printed = Table(*columns)
    for row in rows:
        if "error" in row:
            printed.add_row(str(row["version"]), _mark(row), "", "corrupt")
            continue
        found: Manifest = row["manifest"]
        printed.add_row(
            str(found.version),
            _mark(row),
            str(found.parent or "-"),
            iso_utc(found.created_ms),
            iso_utc(found.window_end_ms),
            found.trigger.value,
            printable(found.engine_name),
            f"{found.rows:,}",
            f"{found.backoff_rows:,}",
            f"{found.rows_changed:,}",
        )
    _print(printed)
    if any("error" in row for row in rows):
        click.echo("tidegate table verify --all says what is corrupt", err=True)


def _listed(store: TableStore, version: int, current: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {"version": version, "serves": version == current}
    try:
        return row | {"manifest": store.manifest(version)}
    except CorruptTableError as error:
        return row | {"error": str(error)}


def _mark(row: dict[str, Any]) -> str:
    return "<-" if row["serves"] else ""


@table_group.command("show")
@click.argument("version", type=int, required=False)
@click.option("--pair", help='One pair, "A,B": names or ids.')
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Rows of pairs to print.")
@_with_store
def show(version: int | None, pair: str | None, limit: int, home: Path, tables: str | None, as_json: bool) -> None:
    """Show a version (default: the one that serves), or its answer to one pair."""
    store = _store(home, tables)
    version = _resolved(store, version)
    manifest, table = store.manifest(version), store.load(version)
    if pair is not None:
        _show_pair(ServedTable(version, table), pair, as_json)
        return
    rows = [_row(table, int(at)) for at in range(min(limit, table.n_rows))]
    if as_json:
        print_json({"manifest": manifest, "rows": rows})
        return
    facts = Table("version", str(version))
    for name in (
        "parent",
        "trigger",
        "engine_name",
        "engine_fingerprint",
        "template",
        "clusters",
        "rows",
        "backoff_rows",
    ):
        facts.add_row(name.replace("_", " "), printable(str(getattr(manifest, name))))
    facts.add_row("window end", iso_utc(manifest.window_end_ms))
    facts.add_row("reasons", ", ".join(f"{n} {reason}" for reason, n in manifest.reasons.items()) or "-")
    facts.add_row("checksum", manifest.content_checksum)
    _print(facts)
    _print(_printed_rows(rows))
    if table.n_rows > limit:
        click.echo(f"{table.n_rows - limit:,} more rows: --limit {table.n_rows} or --pair")


def _row(table: TransitionTable, at: int) -> dict[str, Any]:
    c1, c2 = (int(column[0]) for column in unpack_pairs(table.pairs[at : at + 1]))
    context = int(table.contexts[at])
    return {
        "c1": table.cluster_names[c1],
        "c2": table.cluster_names[c2],
        "next": ranked(table, table.clusters[at], table.probabilities[at]),
        "context": table.cluster_names[context] if 0 <= context < len(table.cluster_names) else None,
        "refreshed": iso_utc(int(table.refreshed_ms[at])),
    }


def _printed_rows(rows: list[dict[str, Any]]) -> Table:
    printed = Table("c1", "c2", "next", "context", "refreshed")
    for row in rows:
        context = printable(row["context"] or "-")
        printed.add_row(printable(row["c1"]), printable(row["c2"]), _answers(row["next"]), context, row["refreshed"])
    return printed


def _answers(ranked: list[dict[str, Any]]) -> str:
    return ", ".join(f"{printable(answer['name'])} {answer['probability']:.3f}" for answer in ranked) or "-"


def _show_pair(served: ServedTable, text: str, as_json: bool) -> None:
    c1, c2 = _pair_of(served, text)
    answer, names = served.one(c1, c2, served.table.top_n), served.cluster_names
    found = zip(answer.clusters, answer.probabilities, strict=True)
    ranked = [{"name": names[cluster], "probability": weight} for cluster, weight in found]
    shown = {"version": served.version, "c1": names[c1], "c2": names[c2], "level": answer.level, "next": ranked}
    at = int(served.table.rows_of(np.array([c1 << 16 | c2]))[0])
    if answer.level == "pair":
        shown |= {key: _row(served.table, at)[key] for key in ("context", "refreshed")}
    if as_json:
        print_json(shown)
        return
    printed = Table("c1", "c2", "level", "next", "context", "refreshed")
    printed.add_row(
        printable(names[c1]),
        printable(names[c2]),
        answer.level,
        _answers(ranked),
        printable(str(shown.get("context") or "-")),
        str(shown.get("refreshed", "-")),
    )
    _print(printed)


def _pair_of(served: ServedTable, text: str) -> tuple[int, int]:
    """Clusters of ``A,B``; names may hold commas, so each comma is tried as the one between them."""
    found = set(_readings(served, text))
    if len(found) == 1:
        return found.pop()
    ids = "Write both as ids if names hold commas" if found else 'Write "A,B" with names or ids of its clusters'
    what = "can be read as more than one pair" if found else f"is no pair of table version {served.version}"
    raise RequestError(f"{text!r} {what}", ids, place="--pair")


def _readings(served: ServedTable, text: str) -> Iterator[tuple[int, int]]:
    parts = text.split(",")
    for at in range(1, len(parts)):
        sides = (",".join(parts[:at]).strip(), ",".join(parts[at:]).strip())
        ids = [served.id_of_name.get(side, int(side) if side.isdecimal() else -1) for side in sides]
        if all(0 <= cluster < served.n_clusters for cluster in ids):
            yield ids[0], ids[1]


@table_group.command("diff")
@click.argument("old", type=int)
@click.argument("new", type=int)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Rows of each kind to print.")
@_with_store
def diff(old: int, new: int, limit: int, home: Path, tables: str | None, as_json: bool) -> None:
    """Show what changed from version OLD to version NEW; c1 is * for rows of the backoff level."""
    store = _store(home, tables)
    changes = changes_between(store.load(old), store.load(new), limit)
    counts, rows = changes.counts, changes.rows
    if as_json:
        print_json({"old": old, "new": new, **counts, "reweighted": changes.n_reweighted, "rows": rows})
        return
    printed = Table("change", "c1", "c2", f"version {old}", "", f"version {new}")
    for row in rows:
        context = printable(row["c1"]), printable(row["c2"])
        printed.add_row(row["change"], *context, _answers(row["old"]), "->", _answers(row["new"]))
    _print(printed)
    listed = ", ".join(f"{n:,} {kind}" for kind, n in counts.items())
    click.echo(f"{listed}; {changes.n_reweighted:,} with other probabilities only")


@table_group.command("verify")
@click.argument("version", type=int, required=False)
@click.option("--all", "every", is_flag=True, help="Verify every version on disk.")
@_with_store
def verify(version: int | None, every: bool, home: Path, tables: str | None, as_json: bool) -> None:
    """Check every byte of a version (default: the one that serves); exit code 1 if it is corrupt."""
    if every and version is not None:
        raise RequestError(f"version {version} and --all are both given", "Give one of them", place="verify")
    store = _store(home, tables)
    results = [_verified(store, number) for number in (store.numbers() if every else [_resolved(store, version)])]
    show_verified(results, as_json=as_json)


def _verified(store: TableStore, version: int) -> dict[str, Any]:
    try:
        return {"version": version, "is_sound": True, "checksum": store.verify(version).content_checksum}
    except CorruptTableError as error:
        return {"version": version, "is_sound": False, "error": str(error)}


@table_group.command("rollback")
@click.option("--to", type=int, help="Version to serve; default: the parent of the one that serves.")
@click.option("--reason", required=True, help="Why, for the history.")
@_with_store
def rollback(to: int | None, reason: str, home: Path, tables: str | None, as_json: bool) -> None:
    """Let another version serve; it is verified first."""
    store = _store(home, tables)
    version = store.rollback(to, why=reason)
    if as_json:
        print_json({"version": version, "reason": reason})
        return
    click.echo(f"version {version} serves")


def _resolved(store: TableStore, version: int | None) -> int:
    found = store.current() if version is None else version
    if found is None:
        raise RequestError("no table has been published", "Run tidegate run first, or name --home", place=store.place)
    return found


def printable(text: str) -> str:
    r"""Replace what a terminal could take for a command: names come from logs.

    Examples
    --------
    >>> printable("jazz\x1b[31m")
    'jazz\ufffd[31m'
    """
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _print(table: Table) -> None:
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False).print(table)
