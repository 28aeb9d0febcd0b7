"""``tidegate run``: source → counts → drift → decision → refresh → table, in one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import click
import msgspec
from prometheus_client import CollectorRegistry
from rich.console import Console

from monitoring.exposition import metrics_asgi
from monitoring.metrics import Metrics
from monitoring.service_metrics import ServiceMetrics
from monitoring.terminal import print_run
from refresh.lookup import Lookup
from refresh.serving import Answers, RunningService, build_app, serve
from refresh.serving.tally import Tally
from tidegate.cli.addresses import require_loopback
from tidegate.cli.alert_planning import result_of
from tidegate.cli.alert_taking import alert_routes_of
from tidegate.cli.assembly import Assembly, assemble
from tidegate.cli.exporting import Pulse, exporting
from tidegate.cli.options import given_flags, settings_options
from tidegate.cli.pipeline import Pipeline
from tidegate.cli.run_alerts import RunAlerts
from tidegate.cli.stopping import stop_signal
from tidegate.cli.summary import summarise
from tidegate.cli.topic_following import publishing
from tidegate.cli.watching import Bars, Watcher
from tidegate.clock import Clock, SystemClock
from tidegate.config import RunSettings, load_settings
from tidegate.errors import RequestError, SourceError, TidegateError
from tidegate.files import write_atomically


@click.command("run")
@settings_options()
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the run's figures here.")
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write a report with plots here.")
def run_command(config: Path | None, json_path: Path | None, html_path: Path | None, **flags: Any) -> None:
    """Read watch events, keep the transition table fresh where drift makes it worth it, and report.

    A finite source ends the run; an interrupted run goes on where it was when the same command is given again.
    """
    settings: RunSettings = load_settings(given_flags(flags), config)
    require_folders({"--json": json_path, "--html": html_path})
    console = Console(stderr=True)
    with stop_signal() as stop:
        run(
            settings,
            console,
            stop,
            json_path=json_path,
            html_path=html_path,
            on_summary=lambda s: print_run(Console(), s),
        )


def run(
    settings: RunSettings,
    console: Console,
    stop: threading.Event,
    *,
    json_path: Path | None = None,
    html_path: Path | None = None,
    on_summary: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Run until the source ends or `stop` is set; returns the summary.

    Raises
    ------
    TidegateError
        Whatever stopped the run; what was read before is committed, and the files are written all the same where
        it was the source that failed.
    """
    if settings.serve:
        require_loopback(settings.host, settings.expose)
    clock = SystemClock()
    metrics = Metrics(CollectorRegistry(), clock)
    with ExitStack() as stack:
        bars = stack.enter_context(Bars(console))
        assembly = stack.enter_context(assemble(settings, clock, bars.on_training, metrics.order_in_hand))
        pulse = Pulse(clock)
        metrics.observe_order(None)
        watcher = Watcher(assembly, metrics, bars, pulse, settings.hit_rate_objective)
        alerts = RunAlerts(settings, assembly.parts, clock, watcher.on_alert, bars.on_rows)
        pipeline = Pipeline(assembly.parts, assembly.last_record, watcher.on_record, bars.on_rows, alerts.amended)
        stack.enter_context(publishing(settings, assembly.parts.refreshing.tables))
        stack.enter_context(exporting(settings, metrics.registry, "run", pulse, assembly.parts.store.run_id))
        if settings.serve:
            service = stack.enter_context(_serving(settings, assembly, alerts, metrics, clock))
            console.print(f"serving {service.url}/v1/next and {service.url}/metrics")
        if settings.follow:
            # A topic where nothing happens yields nothing, so nobody would look at `stop`: closing ends the wait.
            _when_set(stop, assembly.source.close)
        has_alerts = settings.serve or settings.follow  # any other run is over before somebody could be woken
        failure: SourceError | None = None
        try:
            alerts.finish_order()
            predictions = pipeline.resume()
            with alerts.answering(pipeline, assembly.source.close) if has_alerts else nullcontext():
                assembly.parts.worker.run(
                    pipeline.on_pane, predictions, on_batch=watcher.on_batch, should_stop=stop.is_set
                )
        except SourceError as error:
            failure = error
        summary = summarise(
            assembly.parts.store,
            assembly.parts.worker,
            alerts.all_amended(watcher.records),
            [result_of(request) for request in alerts.book.answered()],
            **_about(settings, assembly),
        )
        _write(summary, json_path, html_path)
        if failure is not None:
            raise failure
        if summary["is_finished"]:
            assembly.parts.store.finish()
        bars.stop()
        on_summary(summary)
        if settings.serve and not stop.is_set():
            console.print("The source has ended; the table is served until Ctrl-C.")
            stop.wait()
    return summary


def _serving(
    settings: RunSettings, assembly: Assembly, alerts: RunAlerts, metrics: Metrics, clock: Clock
) -> RunningService:
    """Answer from the table that the run publishes, show its metrics, and take alerts."""
    tally = Tally()
    lookup = Lookup(assembly.parts.refreshing.tables, on_swap=tally.swap, on_rejected=_rejecting(metrics, tally))
    ServiceMetrics(metrics.registry, tally.figures)
    answers = Answers(lookup, tally)
    routes = alert_routes_of(settings, alerts.book, clock, metrics.registry)
    app = build_app(answers, metrics_asgi(metrics.registry), routes)
    return serve(app, settings.host, settings.port, answers=answers)


def _rejecting(metrics: Metrics, tally: Tally) -> Callable[[TidegateError], None]:
    def reject(_: TidegateError) -> None:
        metrics.observe_rejected_version()
        tally.reject()

    return reject


def _when_set(event: threading.Event, action: Callable[[], None]) -> None:
    def wait() -> None:
        event.wait()
        action()

    threading.Thread(target=wait, name="stop", daemon=True).start()


def require_folders(outputs: dict[str, Path | None]) -> None:
    """Refuse, before hours of work, files that could not be written after it."""
    for flag, path in outputs.items():
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            found = f"{path} is a folder" if path.is_dir() else f"{path.parent} is no folder"
            raise RequestError(found, "Name a file in a folder that is there", place=flag)


def _about(settings: RunSettings, assembly: Assembly) -> dict[str, Any]:
    return {
        "source": assembly.source.identity,
        "policy": settings.policy,
        "engine": settings.engine,
        "pane": settings.pane,
        "window": settings.window,
        "gap": settings.gap,
        "seed": settings.seed,
        "is_finished": assembly.parts.worker.has_ended,
    }


def _write(summary: dict[str, Any], json_path: Path | None, html_path: Path | None) -> None:
    if json_path is not None:
        write_atomically(json_path, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    if html_path is not None:
        from monitoring.report import write_report  # loads matplotlib, which a run without a report does not need

        write_report(html_path, f"Tidegate: {Path(summary['source']).name}", {summary["policy"]: summary})
