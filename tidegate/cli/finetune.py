"""``tidegate finetune``: look at fine-tunes, have them run, decide on them, serve the same over HTTP."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console

from refresh.finetune.gates.bounds import CandidateBounds
from refresh.finetune.runner import Runner
from tidegate.cli.addresses import require_loopback
from tidegate.cli.finetune_bounds import with_bounds
from tidegate.cli.finetune_engine import with_engine
from tidegate.cli.finetune_runs import access_by_tokens, started_runs
from tidegate.cli.finetune_tables import print_fine_tune, print_fine_tunes
from tidegate.cli.finetuning import Bench, Messages, MlflowOptions, open_bench
from tidegate.cli.mlflow_alias import with_mlflow
from tidegate.cli.options import PIPED_WIDTH, home_option, store_option
from tidegate.cli.people import user_name
from tidegate.cli.roles import show_log
from tidegate.cli.stopping import stop_signal
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus
from tidegate.errors import ConflictError

_F = TypeVar("_F", bound=Callable[..., Any])
_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 30.0


def _with_store(function: _F) -> _F:
    """Add the options that every command shares."""
    home = home_option("Folder of the run; fine-tunes are under its finetunes/.")
    store = store_option("postgresql://USER@HOST/NAME, or a file; default: runs.db in the home.")
    return home(store(function))


def _with_json(function: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")(function)


def _with_decision(function: _F) -> _F:
    """Add the options of a decision."""
    reason = click.option("--reason", required=True, help="Why, for those who look at it later.")
    by = click.option("--by", default=user_name, help="Who decides; default: the user of this machine.")
    revision = click.option(
        "--revision", type=click.IntRange(min=1), help="What you looked at: refused where it changed since."
    )
    return reason(by(revision(function)))


def _with_messages(function: _F) -> _F:
    """Add the options of the webhook."""
    url = click.option("--webhook-url", envvar="TIDEGATE_WEBHOOK_URL", help="Told where a person is needed.")
    secret = click.option(
        "--webhook-secret-file",
        envvar="TIDEGATE_WEBHOOK_SECRET_FILE",
        type=click.Path(path_type=Path),
        help="File of the secret that messages are signed with.",
    )
    return url(secret(function))


@click.group("finetune")
def finetune_group() -> None:
    """Look at fine-tunes, have them trained and judged, and decide whether their weights may serve."""


@finetune_group.command("list")
@click.option("--run", "run_id", help="Of this run only.")
@click.option("--status", type=click.Choice([str(each) for each in FineTuneStatus]), help="In this status only.")
@_with_store
@_with_json
def list_fine_tunes(home: Path, store: str | None, run_id: str | None, status: str | None, as_json: bool) -> None:
    """List fine-tunes, the latest flag first."""
    with open_bench(home, store) as bench:
        records = bench.desk.list(run_id, None if status is None else FineTuneStatus(status))
    if as_json:
        _print_json(records)
    else:
        print_fine_tunes(_console(), records)


@finetune_group.command("show")
@click.argument("fine_tune")
@_with_store
@_with_json
def show_fine_tune(fine_tune: str, home: Path, store: str | None, as_json: bool) -> None:
    """Show FINE_TUNE: its flag, what its gates found, and every step with who, when, why and numbers."""
    with open_bench(home, store) as bench:
        record = bench.desk.show(fine_tune)
    _shown(record, as_json=as_json)


@finetune_group.command("run")
@click.argument("fine_tune", required=False)
@click.option("--follow", is_flag=True, help="Stay, and run what is flagged later, too.")
@click.option(
    "--kind",
    type=click.Choice(["full", "lora"]),
    help="Which weights learn, settled when samples are taken; default: all of a model that Tidegate trained, "
    "an adapter of others.",
)
@with_bounds
@with_engine
@_with_messages
@_with_store
@_with_json
def run_fine_tune(
    fine_tune: str | None,
    follow: bool,
    kind: str | None,
    bounds: CandidateBounds,
    engine: dict[str, object],
    webhook_url: str | None,
    webhook_secret_file: Path | None,
    home: Path,
    store: str | None,
    as_json: bool,
) -> int:
    """Take samples for FINE_TUNE, train it, and let its gates judge; then a person decides.

    Without a name: all that wait for it, the oldest flag first. Goes on where a process before was ended. Exit code 1
    where one has failed, or a gate has halted it. Bounds other than the defaults are recorded with the verdicts.
    """
    show_log()
    messages = Messages(webhook_url, webhook_secret_file)
    ended: list[FineTune] = []
    with stop_signal() as stop, open_bench(home, store) as bench, bench.progress(Console(stderr=True)) as progress:
        runner = bench.runner(messages, kind, bounds, engine, progress, stop.is_set)
        if fine_tune:
            ended = [runner.run(fine_tune)]
        else:
            ended = list(_run_all(bench, runner, stop, tells=webhook_url is not None))
            while follow and not stop.wait(_LOOK_SECONDS):
                ended = list(_run_all(bench, runner, stop, tells=webhook_url is not None))
    if as_json:
        _print_json(ended[0] if fine_tune else ended)
    else:
        print_fine_tunes(_console(), ended)
    return int(any(record.status in (FineTuneStatus.HALTED, FineTuneStatus.FAILED) for record in ended))


def _run_all(bench: Bench, runner: Runner, stop: threading.Event, *, tells: bool) -> Iterator[FineTune]:
    """Run what waits; those that somebody else works on, or has decided on meanwhile, are left to them."""
    for name in bench.waiting(tells=tells):
        if stop.is_set():
            return
        try:
            record = runner.run(name)
        except ConflictError as error:
            _LOG.info("%s", error)
            continue
        _LOG.info("%s is %s: %s", name, record.status, record.steps[-1].why)
        yield record


@finetune_group.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option(
    "--port",
    type=click.IntRange(min=0, max=65_535),
    default=9_468,
    show_default=True,
    help="Port to serve on; 0 takes a free one.",
)
@click.option("--expose", is_flag=True, help="Serve on an address that other machines reach: there is no TLS.")
@click.option("--no-run", is_flag=True, help="Train nothing on this machine: `run` is refused over HTTP.")
@_with_messages
@with_mlflow
@_with_store
def serve_fine_tunes(
    host: str,
    port: int,
    expose: bool,
    no_run: bool,
    webhook_url: str | None,
    webhook_secret_file: Path | None,
    mlflow_url: str | None,
    mlflow_model: str,
    mlflow_alias: str,
    home: Path,
    store: str | None,
) -> None:
    """Serve the same over HTTP, to those who have a token.

    TIDEGATE_FINETUNE_TOKENS_FILE names the file of the tokens that may decide, TIDEGATE_FINETUNE_READ_TOKENS_FILE that
    of those that may only look.
    """
    from refresh.finetune.routes import build_app
    from refresh.serving import serve

    require_loopback(host, expose)
    access = access_by_tokens()
    show_log()
    messages, mlflow = Messages(webhook_url, webhook_secret_file), MlflowOptions(mlflow_url, mlflow_model, mlflow_alias)
    with stop_signal() as stop, open_bench(home, store, mlflow=mlflow) as bench, ExitStack() as stack:
        start = None if no_run else stack.enter_context(started_runs(home, store, messages))
        service = stack.enter_context(serve(build_app(bench.desk, access, start=start), host, port))
        click.echo(f"serving {service.url}/v1/finetunes", err=True)
        stop.wait()


def _decision(action: FineTuneAction, help_text: str) -> None:
    """Add the command of a decision."""

    @finetune_group.command(str(action), help=help_text)
    @click.argument("fine_tune")
    @_with_decision
    @with_mlflow
    @_with_store
    @_with_json
    def decide(
        fine_tune: str,
        reason: str,
        by: str,
        revision: int | None,
        mlflow_url: str | None,
        mlflow_model: str,
        mlflow_alias: str,
        home: Path,
        store: str | None,
        as_json: bool,
    ) -> None:
        mlflow = MlflowOptions(mlflow_url, mlflow_model, mlflow_alias)
        with open_bench(home, store, mlflow=mlflow) as bench:
            record = bench.desk.decide(fine_tune, action, by=by, reason=reason, revision=revision)
        _shown(record, as_json=as_json)


_decision(
    FineTuneAction.APPROVE,
    "Approve FINE_TUNE, once you have looked at it: its weights go into service. A second time changes nothing.",
)
_decision(FineTuneAction.REJECT, "Reject FINE_TUNE, at any step before it is approved: nothing of it serves.")
_decision(
    FineTuneAction.PROCEED,
    "Let FINE_TUNE go on to its review in spite of the gate that halted it; after a fault once it was trained, to its "
    "gates, when it is `run` again.",
)
_decision(
    FineTuneAction.RERUN,
    "Have FINE_TUNE go back to the step that failed, or, after a gate, to the beginning; then `run` it.",
)
_decision(FineTuneAction.RETIRE, "Put FINE_TUNE away: approved but not serving, rejected, or replaced by others.")


def _shown(record: FineTune, *, as_json: bool) -> None:
    if as_json:
        _print_json(record)
    else:
        print_fine_tune(_console(), record)


def _console() -> Console:
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
