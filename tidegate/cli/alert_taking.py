"""Taking alerts into a run's store: what the webhook keeps, and what it tells of what waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute

from monitoring.alert_metrics import AlertMetrics
from monitoring.webhook.app import AlertHandler, alert_routes
from stream.alert_book import AlertBook
from tidegate.cli.alert_assembly import cooldown_ms_of
from tidegate.clock import Clock
from tidegate.config import RunSettings
from tidegate.contracts import AlertEpisode
from tidegate.tokens import Tokens, is_loopback, tokens_of

_LOG = logging.getLogger("tidegate.alerts")


@dataclass(frozen=True, slots=True)
class AlertTaking:
    """Keeps episodes in the store of a run.

    Attributes
    ----------
    open_book : gives the run's requests; asked at each use, for the store may not be there yet
    clock : tells when they are received
    cooldown_ms : int
    """

    open_book: Callable[[], AlertBook]
    clock: Clock
    cooldown_ms: int

    def keep(self, episodes: Sequence[AlertEpisode]) -> list[str]:
        """Keep episodes; says what became of each.

        Raises
        ------
        StoreError
            If they cannot be kept.
        """
        receipts = self.open_book().receive(episodes, now_ms=self.clock.now_ms(), cooldown_ms=self.cooldown_ms)
        return [receipt.status.value if receipt.is_new else "repeated" for receipt in receipts]

    def waiting_seconds(self) -> float | None:
        """Age of the oldest request that is not answered; None where none waits.

        Raises
        ------
        StoreError
            If the store does not tell.
        """
        received_ms = self.open_book().oldest_waiting_ms()
        return None if received_ms is None else max(0.0, (self.clock.now_ms() - received_ms) / 1_000)


def alert_handler_of(
    settings: RunSettings, open_book: Callable[[], AlertBook], clock: Clock, registry: CollectorRegistry
) -> AlertHandler:
    """Put together what answers deliveries, with its metrics in `registry`.

    Raises
    ------
    ConfigError
        If a token is none.
    """
    taking = AlertTaking(open_book, clock, cooldown_ms_of(settings))
    return AlertHandler(taking.keep, AlertMetrics(registry, taking.waiting_seconds), alert_tokens_of(settings))


def alert_tokens_of(settings: RunSettings) -> Tokens | None:
    """Read the live tokens of the webhook; None where there are none.

    Raises
    ------
    ConfigError
        If one is no token.
    """
    if settings.alert_tokens is None:
        return None
    return tokens_of(settings.alert_tokens.get_secret_value(), place="--alert-tokens")


def alert_routes_of(
    settings: RunSettings, book: AlertBook, clock: Clock, registry: CollectorRegistry
) -> list[BaseRoute]:
    """Give the webhook's routes for a run's own service; none where others would reach it without a token.

    Raises
    ------
    ConfigError
        If a token is none.
    """
    if alert_tokens_of(settings) is None and not is_loopback(settings.host):
        _LOG.warning("alerts are not taken on %s: no token is asked of those who reach it", settings.host)
        return []
    return alert_routes(alert_handler_of(settings, lambda: book, clock, registry))
