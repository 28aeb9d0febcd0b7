"""How far a run has come, pane by pane, and what waits for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

from prometheus_client import CollectorRegistry

from monitoring.metric_group import MetricGroup
from tidegate.clock import Clock

STAGES = ("counted", "closed", "reported", "decided", "recorded")
"""What becomes of a pane, in this order: counted by all workers, closed, reported, decided, recorded."""
STEPS = ("close", "report", "decide", "record")
"""What leads from each of those to the next."""


class PaneMetrics(MetricGroup):
    """Told by evaluator and controller what the store says, each of the stages that it answers for."""

    def __init__(self, registry: CollectorRegistry, clock: Clock | None = None) -> None:
        super().__init__(registry, clock)
        self.pane_end = self._gauge(
            "pane_end_timestamp_seconds",
            "Event time at which the last pane ends that has come so far, in seconds since the epoch.",
            "stage",
        )
        self.pending = self._gauge("panes_pending", "Panes that wait for a step (panes).", "step")
        self.pending_seconds = self._gauge(
            "pane_pending_seconds",
            "Seconds that a step has had panes to see to and saw to none, when collected.",
            "step",
        )
        self.orders_open = self._gauge("orders_open", "Orders that were placed and are not carried out yet (orders).")
        self.order_age = self._gauge(
            "order_age_seconds", "Seconds since the open order was first seen by this process, when collected."
        )
        self.pane_seconds = self._gauge("pane_seconds", "Length of a pane in event time (seconds).")
        self.window_seconds = self._gauge("window_seconds", "Length of a window in event time (seconds).")
        self._moved: dict[str, tuple[int, int]] = {}  # by step: panes that are done, and since when that is so
        self._order: tuple[str, int] | None = None

    def show_lengths(self, pane_ms: int, window_panes: int) -> None:
        """Show how long panes and windows are."""
        self.pane_seconds.set(pane_ms / 1_000)
        self.window_seconds.set(pane_ms * window_panes / 1_000)

    def observe_panes(self, last: Mapping[str, int | None], first_pane: int | None, pane_ms: int) -> None:
        """Show how far each stage has come.

        Parameters
        ----------
        last : last pane by stage (of `STAGES`; None where none has come so far); neighbours give what is pending
        first_pane : of the run; None where it is not known yet
        """
        for stage, pane in last.items():
            self.pane_end.set(None if pane is None else (pane + 1) * pane_ms / 1_000, stage)
        for step, (before, after) in zip(STEPS, pairwise(STAGES), strict=True):
            if before in last and after in last:
                self._observe_step(step, last[before], last[after], first_pane)

    def _observe_step(self, step: str, ready: int | None, done: int | None, first_pane: int | None) -> None:
        n_pending = 0
        if ready is not None and first_pane is not None:
            done = first_pane - 1 if done is None else done
            n_pending = max(0, ready - done)
        self.pending.set(n_pending, step)
        if not n_pending or done is None:
            self._moved.pop(step, None)
            self.pending_seconds.set(0.0, step)
            return
        if step not in self._moved or self._moved[step][0] != done:
            self._moved[step] = (done, self._clock.now_ms())
            self._age(self.pending_seconds, self._moved[step][1], step)

    @contextmanager
    def order_in_hand(self) -> Iterator[None]:
        """Show an order as open while the process that placed it carries it out."""
        self.observe_order("in hand")
        try:
            yield
        finally:
            self.observe_order(None)

    def observe_order(self, order_id: str | None) -> None:
        """Show the order that is open; panes and alerts are answered one after the other, so there is one at most."""
        self.orders_open.set(int(order_id is not None))
        if order_id is None:
            self._order = None
            self.order_age.set(None)
        elif self._order is None or self._order[0] != order_id:
            self._order = (order_id, self._clock.now_ms())
            self._age(self.order_age, self._order[1])
