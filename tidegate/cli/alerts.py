"""``tidegate alerts``: Alertmanager's webhook into a run's store, and what became of its alerts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from monitoring.webhook.app import build_alert_app
from refresh.serving import Limits, RunningService, serve
from stream.alert_book import AlertBook, AlertRequest
from stream.database import Database
from stream.run_reader import RunReader, run_id_of
from stream.sources.opening import parse_kafka_url
from tidegate.cli.addresses import address_options
from tidegate.cli.alert_planning import decision_of, result_of
from tidegate.cli.alert_taking import alert_handler_of, alert_tokens_of
from tidegate.cli.decisions import opened_run, with_run
from tidegate.cli.exporting import Pulse, exporting
from tidegate.cli.options import PIPED_WIDTH, given_flags, settings_options
from tidegate.cli.roles import show_log
from tidegate.cli.stopping import stop_signal
from tidegate.clock import Clock, SystemClock, iso_utc
from tidegate.config import load_settings
from tidegate.errors import StoreUnavailableError
from tidegate.group_config import GroupSettings
from tidegate.tokens import require_tokens_beyond_loopback

_LOG = logging.getLogger("tidegate.alerts")
DEFAULT_PORT = 9_466
_LIMITS = Limits(max_connections=256, request_seconds=30.0)
# The service listens on an address of its own; the run is known by all the rest.
_LEFT_OUT = ("serve", "host", "port", "expose", "follow")


@click.group("alerts", invoke_without_command=True)
@settings_options(*_LEFT_OUT, kind=GroupSettings)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
@click.option("--run", "run_id", help="The run; default: that of these settings, or else the only one in the store.")
@address_options("TIDEGATE_ALERTS", DEFAULT_PORT, "take alerts", "asks for a token")
@click.pass_context
def alerts_group(
    context: click.Context,
    /,
    config: Path | None,
    run_id: str | None,
    host: str,
    port: int,
    **flags: Any,
) -> None:
    """Take alerts from Alertmanager (POST /alerts): each that begins to fire asks for one refresh.

    What is taken is in the run's store; the controller, or `tidegate run`, places the order. SIGTERM ends it after the
    deliveries in hand.
    """
    if context.invoked_subcommand is not None:
        return
    settings = load_settings(given_flags(flags), config, GroupSettings)
    show_log()
    clock = SystemClock()
    pulse, registry = Pulse(clock), CollectorRegistry()
    with (
        stop_signal() as stop,
        closing(RunStores(settings, run_id)) as stores,
        exporting(settings, registry, "alerts", pulse, run_id or "", unready=stores.unready),
        taking_alerts(settings, stores, clock, registry, host, port) as service,
    ):
        click.echo(f"taking alerts on {service.url}/alerts", err=True)
        while not stop.wait(1.0):
            pulse.beat()


@contextmanager
def taking_alerts(
    settings: GroupSettings, stores: RunStores, clock: Clock, registry: CollectorRegistry, host: str, port: int
) -> Iterator[RunningService]:
    """Serve the webhook while the block lasts.

    Raises
    ------
    ConfigError
        If others would reach it without a token, the address cannot be listened on, or a token is none.
    """
    require_tokens_beyond_loopback(host, alert_tokens_of(settings), "alert_tokens")
    handler = alert_handler_of(settings, stores.book, clock, registry)
    with serve(build_alert_app(handler), host, port, limits=_LIMITS) as service:
        yield service


class RunStores:
    """The store of a run that may not be there yet: it is looked for at each use until it is.

    Parameters
    ----------
    settings : name the store, and the run
    run_id : the run, where it is named
    """

    def __init__(self, settings: GroupSettings, run_id: str | None = None) -> None:
        self._settings, self._wanted = settings, run_id
        self._database: Database | None = None
        self._book: AlertBook | None = None
        self._lock = threading.Lock()

    def book(self) -> AlertBook:
        """Give the requests of the run.

        Raises
        ------
        StoreUnavailableError
            If the store does not answer, or the run has not begun.
        """
        with self._lock:
            if self._database is None:
                settings = self._settings
                self._database = Database(
                    settings.store.get_secret_value() if settings.store else settings.home / "runs.db"
                )
            if self._book is None:
                self._book = AlertBook(self._database, self._run_id(self._database))
                _LOG.info("alerts go to run %s", self._book.run_id)
            return self._book

    def unready(self) -> str | None:
        """Say why no alert can be taken; None where it can."""
        try:
            self.book().oldest_waiting_ms()
        except StoreUnavailableError as error:
            return error.found
        return None

    def close(self) -> None:
        """Release the store."""
        if self._database is not None:
            self._database.close()

    def _run_id(self, database: Database) -> str:
        known = RunReader.known_runs(database)
        fitting = [run_id for run_id in self._candidates() if run_id in known]
        if self._wanted is None and not fitting and len(known) == 1:
            fitting = list(known)
        if not fitting:
            wanted = self._wanted or "of these settings"
            raise StoreUnavailableError(
                f"there is no run {wanted} yet",
                f"Start it with the same configuration, or name one with --run: {', '.join(known) or 'none yet'}",
                place=database.place,
            )
        return fitting[0]

    def _candidates(self) -> list[str]:
        """Names that the run may have: shared by workers, or of one process."""
        if self._wanted is not None:
            return [self._wanted]
        settings = self._settings
        if not settings.source.startswith("kafka://"):
            return []
        brokers, topic = parse_kafka_url(settings.source)
        source, flags = f"kafka://{brokers}/{topic}", settings.identity()
        return [run_id_of(source, flags), run_id_of(source, flags.removeprefix("workers "))]


@alerts_group.command("list")
@with_run
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_alerts(home: Path, store: str | None, run_id: str | None, as_json: bool) -> None:
    """List the alerts that were taken, oldest first, and what became of each."""
    with opened_run(home, store, run_id) as (reader, _):
        requests = AlertBook(reader.database, reader.run_id).requests()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([listed(each) for each in requests]), indent=2))
        return
    table = Table("received", "alert", "status", "seconds", "rows", "calls", "outcome", "table")
    names = ("received", "alert", "status", "seconds", "rows", "llm_calls", "outcome", "table_version")
    for request in map(listed, requests):
        table.add_row(*("–" if request[name] is None else str(request[name]) for name in names))
    console = Console()
    (console if console.is_terminal else Console(width=PIPED_WIDTH)).print(table)


def listed(request: AlertRequest) -> dict[str, Any]:
    """Say what became of a request, for people and programs."""
    decision = None if request.decision is None else decision_of(request)
    decided = None if decision is None else decision.record.decision
    result = None if request.result is None else result_of(request)
    order = decided.order if decided else None
    return {
        "number": request.number,
        "received": iso_utc(request.received_ms),
        "alert": request.episode.alert,
        "starts_at": request.episode.starts_at,
        "group_key": request.episode.group_key,
        "fingerprint": request.episode.fingerprint,
        "labels": request.episode.labels,
        "status": request.status.value,
        "decided": None if decision is None else iso_utc(decision.decided_ms),
        "answered": None if request.answered_ms is None else iso_utc(request.answered_ms),
        "seconds": None if request.answered_ms is None else (request.answered_ms - request.received_ms) / 1_000,
        "order_id": order.order_id if order else None,
        "rows": len(order.rows) if order else None,
        "explanation": decided.explanation if decided else None,
        "outcome": result.outcome if result else None,
        "llm_calls": result.llm_calls if result else None,
        "table_version": result.table_version if result else None,
    }
