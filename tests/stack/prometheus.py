"""What Prometheus has seen, asked through its HTTP API."""

from __future__ import annotations

import math
from typing import Any

import httpx


class Prometheus:
    """A server that answers queries.

    Parameters
    ----------
    url : str
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=10.0)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def now(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of everything that an expression gives now."""
        found = self._ask("/query", query=expr)
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]

    def over(self, expr: str, start_seconds: float, end_seconds: float, step_seconds: float = 1.0) -> list[list[float]]:
        """Finite values of every series that an expression gives in a span of time."""
        found = self._ask("/query_range", query=expr, start=start_seconds, end=end_seconds, step=step_seconds)
        series = [[float(value) for _, value in one["values"]] for one in found["result"]]
        return [[value for value in values if math.isfinite(value)] for values in series]

    def alerts(self) -> list[dict[str, Any]]:
        """Alerts that are pending or fire."""
        found: list[dict[str, Any]] = self._ask("/alerts")["alerts"]
        return found

    def targets(self) -> dict[str, str]:
        """Health of every scraped address."""
        return {one["scrapeUrl"]: one["health"] for one in self._ask("/targets")["activeTargets"]}

    def _ask(self, path: str, **parameters: str | float) -> Any:
        answer = self._client.get(path, params=parameters)
        body = answer.json()
        if body.get("status") != "success":
            raise ValueError(f"{parameters}: {body.get('error', answer.status_code)}")
        return body["data"]
