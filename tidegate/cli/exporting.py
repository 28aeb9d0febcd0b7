"""A process's own metrics port: what it exports, whether it is alive and ready, and where others may add theirs.

``--metrics-port`` opens it, on loopback unless ``--expose-metrics`` says that others shall reach it. It answers
``/metrics``, ``/healthz`` and ``/readyz`` in a thread; without it nothing of a web server is loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from monitoring.exposition import status_app
from monitoring.role_metrics import RoleMetrics, Vitals
from stream.patience import StorePatience
from tidegate.cli.addresses import require_loopback
from tidegate.clock import Clock
from tidegate.config import RunSettings
from tidegate.errors import ConfigError

_LOG = logging.getLogger("tidegate")


@dataclass(slots=True)
class Pulse:
    """Signs of life that a process's loop gives, read by whoever answers a scrape.

    Attributes
    ----------
    patiences : waits for the store that the process does elsewhere, whose outages count, too
    """

    clock: Clock
    patiences: list[StorePatience] = field(default_factory=list)
    progress_ms: int | None = None
    n_outages: int = 0
    away_since_ms: int | None = None
    heartbeat_ms: int = 0

    def __post_init__(self) -> None:
        self.heartbeat_ms = self.clock.now_ms()

    def beat(self) -> None:
        """Say that the loop goes round, and that the store answers."""
        self.heartbeat_ms = self.clock.now_ms()
        self.away_since_ms = None

    def progress(self) -> None:
        """Say that something was done."""
        self.progress_ms = self.clock.now_ms()

    def store_is_away(self) -> None:
        """Say that the store refuses, each time that it does."""
        self.heartbeat_ms = self.clock.now_ms()
        if self.away_since_ms is None:
            self.away_since_ms = self.heartbeat_ms
            self.n_outages += 1

    @property
    def store_away_seconds(self) -> float:
        """How long the store has refused without a break; 0 while it answers."""
        away = [0.0 if self.away_since_ms is None else (self.clock.now_ms() - self.away_since_ms) / 1_000]
        return max(away + [patience.away_seconds for patience in self.patiences])

    def vitals(self) -> Vitals:
        """Put together what is exported."""
        return Vitals(
            self.heartbeat_ms,
            self.progress_ms,
            self.n_outages + sum(patience.n_outages for patience in self.patiences),
            self.store_away_seconds,
        )

    def unready(self) -> str | None:
        """Say why the process cannot work now; None where it can."""
        away_seconds = self.store_away_seconds
        return f"the store has been away for {away_seconds:.0f} s" if away_seconds > 0 else None


@contextmanager
def exporting(
    settings: RunSettings,
    registry: CollectorRegistry,
    role: str,
    pulse: Pulse,
    run_id: str = "",
    *,
    unready: Callable[[], str | None] | None = None,
) -> Iterator[str | None]:
    """Export a process's metrics while it works; yields the port's address, None where none is asked for.

    Parameters
    ----------
    registry : what the role has to tell; what every process tells is added
    role : of `monitoring.role_metrics.ROLES`
    unready : why the role cannot work now; default: the pulse's

    Raises
    ------
    ConfigError
        If the port cannot be had, or others would reach it and nobody has said so.
    """
    RoleMetrics(registry, role, run_id, pulse.vitals)
    host, port, is_exposed = settings.metrics_host, settings.metrics_port, settings.expose_metrics
    with metrics_port(host, port, is_exposed, registry, unready or pulse.unready) as url:
        yield url


@contextmanager
def metrics_port(
    host: str, port: int | None, is_exposed: bool, registry: CollectorRegistry, unready: Callable[[], str | None]
) -> Iterator[str | None]:
    """Answer on a port of its own, where one is asked for; raises as `exporting` does."""
    if port is None:
        yield None
        return
    require_loopback(host, is_exposed, place="--metrics-host", flag="--expose-metrics")
    from refresh.serving.server import serve

    try:
        service = serve(status_app(registry, unready), host, port)
    except ConfigError as error:
        mend = "Name another --metrics-port (0 picks a free one)"
        raise ConfigError(error.found, mend, place="--metrics-port") from error
    with service:
        _LOG.info("metrics on %s/metrics", service.url)
        yield service.url
