"""``tidegate weights``: list a run's versions of weights, verify them, and go back to a former one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table

from refresh.weights import WeightsStore, WeightsVersion
from stream.database import Database
from tidegate.cli.finetuning import MlflowOptions
from tidegate.cli.mlflow_alias import move_alias, with_mlflow
from tidegate.cli.options import PIPED_WIDTH, home_option, store_option
from tidegate.cli.people import user_name
from tidegate.cli.version_output import print_json, show_verified
from tidegate.cli.weights_serving import weights_serving_of
from tidegate.clock import SystemClock, iso_utc
from tidegate.errors import EngineError, RequestError

_F = TypeVar("_F", bound=Callable[..., Any])


def _with_run(function: _F) -> _F:
    """Add the options that every command shares."""
    home = home_option("Folder of the run's models.")
    run = click.option("--run", "run_id", help="Run whose weights are meant; default: the only one that has versions.")
    return home(run(click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")(function)))


@click.group("weights")
def weights_group() -> None:
    """List, verify and roll back the weights that answer."""


@weights_group.command("list")
@_with_run
def list_weights(home: Path, run_id: str | None, as_json: bool) -> None:
    """List all versions of a run's weights, newest first, and who let them serve."""
    store = _store(home, run_id)
    serving, moves = store.serving(), store.moves()
    rows = [
        {
            **msgspec.to_builtins(version),
            "serves": serving is not None and serving.version == version.version,
            "folder": str(store.path(version.version)),
            "moves": [msgspec.to_builtins(move) for move in moves if move.version == version.version],
        }
        for version in reversed(store.versions())
    ]
    if as_json:
        print_json(rows)
        return
    printed = Table("version", "serves", "parent", "kind", "base", "fine-tune", "tuned on", "last move")
    for row in rows:
        last = row["moves"][-1] if row["moves"] else None
        printed.add_row(
            str(row["version"]),
            "<-" if row["serves"] else "",
            str(row["parent"] or "-"),
            row["kind"],
            str(row["base"] or "-"),
            row["fine_tune_id"] or "the run's own",
            iso_utc(row["window_end_ms"]),
            f"{iso_utc(last['at_ms'])} by {last['by']}: {last['why']}" if last else "-",
        )
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False).print(printed)


@weights_group.command("verify")
@_with_run
def verify_weights(home: Path, run_id: str | None, as_json: bool) -> None:
    """Check every byte of all versions; exit code 1 if one is damaged."""
    store = _store(home, run_id)
    results = [_verified(store, version) for version in store.versions()]
    show_verified(results, as_json=as_json)


def _verified(store: WeightsStore, version: WeightsVersion) -> dict[str, Any]:
    try:
        store.verify(version.version)
    except EngineError as error:
        return {"version": version.version, "is_sound": False, "error": str(error)}
    return {"version": version.version, "is_sound": True}


@weights_group.command("rollback")
@click.option("--to", type=click.IntRange(min=1), help="Version to serve; default: the one that was replaced last.")
@click.option("--reason", required=True, help="Why, for the history.")
@click.option("--by", default=user_name, help="Who decides; default: the user of this machine.")
@store_option("Store of a shared run; default: the home's own.")
@with_mlflow
@_with_run
def rollback_weights(
    to: int | None,
    reason: str,
    by: str,
    store: str | None,
    mlflow_url: str | None,
    mlflow_model: str,
    mlflow_alias: str,
    home: Path,
    run_id: str | None,
    as_json: bool,
) -> None:
    """Let former weights, or later ones, serve from the run's next pane on; they are verified first.

    With --mlflow-url the alias follows. Where MLflow is away the weights serve all the same, and the exit code is 1;
    the same with --to moves the alias alone.
    """
    registry = MlflowOptions(mlflow_url, mlflow_model, mlflow_alias).registry()
    run_id = _store(home, run_id).folder.name
    with closing(Database(store or home / "runs.db")) as database:
        weights = weights_serving_of(database, home, SystemClock())
        version = weights.store(run_id).serving()
        if registry is None or version is None or version.version != to:
            version = weights.rollback(run_id, by=by, why=reason, to=to)
        said = {"run_id": run_id, "version": version.version, "reason": reason}
        if not as_json:
            click.echo(f"version {version.version} of the weights serves from the next pane on")
        if registry is not None:
            again = f"give `tidegate weights rollback --to {version.version}` again to move the alias"
            mend = f"Version {version.version} serves all the same; {again}"
            said["mlflow_version"] = move_alias(registry, home, weights.book, run_id, mend=mend)
    if as_json:
        print_json(said)
    elif registry is not None:
        click.echo(f"the alias {mlflow_alias} of {mlflow_model} names {said['mlflow_version'] or 'nothing'} in MLflow")


def _store(home: Path, run_id: str | None) -> WeightsStore:
    """Find the run's weights."""
    known = sorted({path.parent.name for path in (home / "models").glob("*/v[0-9]*")})
    if run_id is None and len(known) == 1:
        return WeightsStore(home / "models" / known[0])
    if run_id in known:
        return WeightsStore(home / "models" / str(run_id))
    found = f"run {run_id} has no versions of its weights" if run_id else "there are several runs with versions"
    if not known:
        found, mend = "no run has versions of its weights", "Approve a fine-tune first, or name another --home"
    else:
        mend = f"Name one that has with --run: {', '.join(known)}"
    raise RequestError(found, mend, place=str(home / "models"))
