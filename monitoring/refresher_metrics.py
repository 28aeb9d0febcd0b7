"""Metrics of a refresher: the order in hand. What became of orders is the controller's to tell, who records them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from monitoring.metric_group import MetricGroup
from tidegate.clock import Clock

ROW_STATES = ("asked", "answered")


class RefresherMetrics(MetricGroup):
    """Told by a refresher what it is at."""

    def __init__(self, registry: CollectorRegistry, clock: Clock | None = None) -> None:
        super().__init__(registry, clock)
        self.running = self._flag("refresh_running", "Whether this process carries an order out now (0 or 1).")
        self.age = self._gauge(
            "refresh_running_seconds", "Seconds that this process has been at the order in hand, when collected."
        )
        self.rows = self._gauge(
            "refresh_rows",
            "Rows of the order in hand, or of the last one, that the engine was asked for and has answered (rows).",
            "state",
        )
        self.carried_out = self._counter("orders_carried_out", "Orders that this process carried out.")

    @contextmanager
    def order(self) -> Iterator[Callable[[int, int], None]]:
        """Show an order as in hand, and count it where it is carried out; yields what is told how far it has come."""
        self.running.set(1)
        self._age(self.age, self._clock.now_ms())
        self.observe_rows(0, 0)
        try:
            yield self.observe_rows
            self.carried_out.inc()
        finally:
            self.running.set(0)
            self.age.set(None)

    def observe_rows(self, n_answered: int, n_asked: int) -> None:
        """Show how far the order's inference has come."""
        self.rows.set(n_asked, "asked")
        self.rows.set(n_answered, "answered")
