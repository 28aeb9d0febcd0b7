"""``tidegate serve``: the serving table over HTTP, by as many processes as asked."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.addresses import address_options, require_loopback
from tidegate.cli.options import home_option, tables_option
from tidegate.cli.serving import ServeOptions, log_to_stderr, serve_tables
from tidegate.cli.stopping import stop_signal
from tidegate.durations import parse_duration


@click.command("serve")
@home_option("Folder whose tables/ are served; copies of tables that lie elsewhere go there too.")
@tables_option("Another place of the tables: a folder, or a URL of fsspec.")
@address_options("TIDEGATE", 9_464, "serve", "needs --expose")
@click.option("--expose", is_flag=True, help="Serve on an address that other machines reach: there is no TLS or login.")
@click.option(
    "--processes",
    envvar="TIDEGATE_PROCESSES",
    type=click.IntRange(min=1, max=256),
    default=1,
    show_default=True,
    help="Processes that share the port and the table's memory.",
)
@click.option(
    "--check-every",
    envvar="TIDEGATE_CHECK_EVERY",
    help="How soon a new version, or a rollback, is seen; default: 0.2s, and 2s where each look is a request.",
)
@click.option(
    "--timeout",
    envvar="TIDEGATE_TIMEOUT",
    default="30s",
    show_default=True,
    help="From connecting, or from an answer, to the end of the next request.",
)
@click.option(
    "--max-connections",
    envvar="TIDEGATE_MAX_CONNECTIONS",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Open at a time in one process.",
)
@click.option(
    "--metrics-port",
    envvar="TIDEGATE_METRICS_PORT",
    type=click.IntRange(min=0, max=65_535),
    help="Port of the service's own metrics and health, apart from the look-ups'; 0 takes a free one.",
)
@click.option(
    "--metrics-host", envvar="TIDEGATE_METRICS_HOST", default="127.0.0.1", show_default=True, help="Its address."
)
@click.option(
    "--expose-metrics",
    envvar="TIDEGATE_EXPOSE_METRICS",
    is_flag=True,
    help="Let other machines reach that port: it has no TLS and no login.",
)
def serve_command(
    home: Path,
    tables: str | None,
    host: str,
    port: int,
    expose: bool,
    processes: int,
    check_every: str | None,
    timeout: str,
    max_connections: int,
    metrics_port: int | None,
    metrics_host: str,
    expose_metrics: bool,
) -> None:
    """Answer look-ups over HTTP from the table that serves, and follow it as it changes.

    Lives where no run does: it needs the tables only. SIGTERM ends it after the requests in flight.
    """
    require_loopback(host, expose)
    options = ServeOptions(
        home=home,
        tables=tables,
        host=host,
        port=port,
        n_processes=processes,
        check_every_ms=parse_duration(check_every or _look_interval(tables), name="--check-every"),
        request_seconds=parse_duration(timeout, name="--timeout") / 1_000,
        max_connections=max_connections,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        expose_metrics=expose_metrics,
    )
    log_to_stderr()
    with stop_signal() as stop:
        serve_tables(options, stop, lambda url: click.echo(f"serving {url}/v1/next", err=True))


def _look_interval(tables: str | None) -> str:
    return "2s" if tables and "://" in tables and not tables.startswith("file:") else "0.2s"
