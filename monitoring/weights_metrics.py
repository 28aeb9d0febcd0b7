"""Which of a run's weights answer, and since when."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from monitoring.metric_group import MetricGroup
from tidegate.clock import Clock


class WeightsMetrics(MetricGroup):
    """Told by whoever records panes; an engine without weights of the run has no samples."""

    def __init__(self, registry: CollectorRegistry, clock: Clock | None = None) -> None:
        super().__init__(registry, clock)
        self.weights_version = self._gauge(
            "weights_version", "Version of the weights that answer, 0 for those that the run began with (number)."
        )
        self.weights_since = self._gauge(
            "weights_since_timestamp_seconds",
            "Event time of the pane's end at which these weights took over, in seconds since the epoch.",
        )

    def observe_weights(self, version: int | None, since_ms: int | None) -> None:
        """Show the weights that answer.

        Parameters
        ----------
        version : 0 for those that the run began with; None where the engine has none of this run's
        since_ms : end of the pane that was the first they answered; None where they always did
        """
        self.weights_version.set(version)
        self.weights_since.set(None if since_ms is None else since_ms / 1_000)
