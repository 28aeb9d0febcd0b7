"""``tidegate console``: web pages for people, over the store and tables of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from monitoring.console import ConsoleOptions, build_console
from monitoring.console.facts import Prices
from monitoring.console.sessions import Sessions
from refresh.serving.server import RunningService, serve
from tidegate.cli.addresses import address_options
from tidegate.cli.console_actions import StoreActions
from tidegate.cli.console_source import StoreSource
from tidegate.cli.finetuning import MlflowOptions
from tidegate.cli.options import home_option, store_option, tables_option
from tidegate.cli.roles import show_log
from tidegate.cli.stopping import stop_signal
from tidegate.clock import Clock, SystemClock
from tidegate.durations import parse_duration
from tidegate.tokens import Tokens, is_loopback, read_tokens, require_tokens_beyond_loopback

TOKENS = "console_tokens"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """What ``tidegate console`` is told."""

    home: Path
    store: str | None = None
    tables: str | None = None
    run_id: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    tokens: Tokens | None = None
    prices: Prices = field(default_factory=Prices)
    live_seconds: int = 5
    is_https: bool = False
    mlflow: MlflowOptions = field(default_factory=MlflowOptions)


@click.command("console")
@home_option("Folder of the run; candidates and fine-tunes are there, too.")
@store_option("URL of the store; default: runs.db in the home folder.")
@tables_option("Place of the table versions; default: tables/ in the home.")
@click.option("--run", "run_id", help="The run; default: the only one or, of several, the one with the newest event.")
@address_options("TIDEGATE_CONSOLE", 9_465, "show pages", "asks for a token")
@click.option("--live-every", default="5s", show_default=True, help="Between the looks for news of an open page.")
@click.option(
    "--price-per-million-tokens", "token_price", type=click.FloatRange(min=0), help="For the cost of LLM calls."
)
@click.option("--price-per-call", "call_price", type=click.FloatRange(min=0), help="Instead: what one call costs.")
@click.option("--currency", default="", help="Of the prices, to be shown beside costs.")
@click.option(
    "--mlflow-url", envvar="TIDEGATE_MLFLOW_URL", help="MLflow's server: weights that are approved here are registered."
)
@click.option(
    "--mlflow-model", envvar="TIDEGATE_MLFLOW_MODEL", default="tidegate", show_default=True, help="Name there."
)
@click.option(
    "--mlflow-alias", envvar="TIDEGATE_MLFLOW_ALIAS", default="serving", show_default=True, help="Alias of what serves."
)
@click.option(
    "--https", "is_https", is_flag=True, help="Something before the console speaks TLS: cookies go over it only."
)
def console_command(
    home: Path,
    store: str | None,
    tables: str | None,
    run_id: str | None,
    host: str,
    port: int,
    live_every: str,
    token_price: float | None,
    call_price: float | None,
    currency: str,
    mlflow_url: str | None,
    mlflow_model: str,
    mlflow_alias: str,
    is_https: bool,
) -> None:
    """Show a run to people: is it fresh, what drifted, what was decided and why, what it cost; and let them act.

    Acting (going back to a version, overriding a gate, answering a fine-tune) asks for a token of
    TIDEGATE_CONSOLE_TOKENS or TIDEGATE_CONSOLE_TOKENS_FILE. On another address than loopback reading asks for it, too.
    """
    tokens = read_tokens(TOKENS)
    require_tokens_beyond_loopback(host, tokens, TOKENS)
    settings = ConsoleSettings(
        home=home,
        store=store,
        tables=tables,
        run_id=run_id,
        host=host,
        port=port,
        tokens=tokens,
        prices=Prices(token_price, call_price, currency),
        live_seconds=max(1, parse_duration(live_every, name="--live-every") // 1_000),
        is_https=is_https,
        mlflow=MlflowOptions(mlflow_url, mlflow_model, mlflow_alias),
    )
    show_log()
    with stop_signal() as stop:
        serve_console(settings, stop, lambda url: click.echo(f"console on {url}/", err=True))


def serve_console(settings: ConsoleSettings, stop: threading.Event, on_ready: Callable[[str], None]) -> None:
    """Serve until `stop`.

    Raises
    ------
    ConfigError
        If the address cannot be listened on.
    TableError
        If the service does not start, or ends by itself.
    """
    with running_console(settings, SystemClock()) as service:
        on_ready(service.url)
        service.serve_until(stop)


@contextmanager
def running_console(settings: ConsoleSettings, clock: Clock) -> Iterator[RunningService]:
    """Start a console in a thread of this process; stopped at the end. Raises as `serve_console` does."""
    with closing(StoreSource(settings.home, settings.store, settings.tables, settings.run_id, clock)) as source:
        actions = StoreActions(source, settings.home, clock, settings.mlflow.registry())
        sessions = Sessions(clock, settings.tokens)
        options = ConsoleOptions(
            host=settings.host,
            needs_login=not is_loopback(settings.host),
            prices=settings.prices,
            live_seconds=settings.live_seconds,
            is_https=settings.is_https,
        )
        app = build_console(source, actions, sessions, options, clock)
        with serve(app, settings.host, settings.port) as service:
            yield service
