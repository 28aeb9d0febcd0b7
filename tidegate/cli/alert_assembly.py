"""Putting together what answers alerts, from a run's settings and its other parts."""

from __future__ import annotations

from refresh.policies.by_hand import ByAlert, open_by_alert
from stream.alert_book import AlertBook
from stream.ledger import Ledger
from tidegate.cli.alert_planning import AlertPlanning, PolicyOfAlert
from tidegate.cli.assembly import policy_options
from tidegate.cli.deciding import Deciding
from tidegate.cli.stream_settings import sequence_options
from tidegate.config import NEVER, RunSettings
from tidegate.durations import parse_duration


def alert_planning_of(settings: RunSettings, deciding: Deciding) -> AlertPlanning:
    """Put together what plans for alerts of the run that `deciding` decides for."""
    reader = deciding.measuring.reader
    book, ledger = AlertBook(reader.database, reader.run_id), Ledger(reader.database, reader.run_id)
    return AlertPlanning(ledger, book, deciding, alert_policy_of(settings))


def alert_policy_of(settings: RunSettings) -> PolicyOfAlert:
    """Say what plans for a request."""
    sequences = sequence_options(settings)
    options = policy_options(settings, sequences)

    def policy_of(number: int, alert: str) -> ByAlert:
        return open_by_alert(settings.policy, sequences.pane_ms, options, settings.top_n, number=number, alert=alert)

    return policy_of


def cooldown_ms_of(settings: RunSettings) -> int:
    """Read how long after an episode further ones are suppressed; 0 where none are."""
    text = settings.alert_cooldown
    return 0 if text == NEVER else parse_duration(text, name="--alert-cooldown")
