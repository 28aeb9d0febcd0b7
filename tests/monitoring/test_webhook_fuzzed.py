"""The webhook held against its own description, by whatever schemathesis thinks of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry

from monitoring.alert_metrics import AlertMetrics
from monitoring.webhook.app import AlertHandler, build_alert_app
from tidegate.contracts import AlertEpisode
from tidegate.tokens import tokens_of

TOKEN = "token-of-this-very-test"


def keep(episodes: Sequence[AlertEpisode]) -> list[str]:
    assert all(episode.episode_id for episode in episodes)
    return ["open"] * len(episodes)


app = build_alert_app(AlertHandler(keep, AlertMetrics(CollectorRegistry()), tokens_of(TOKEN, place="test")))
schema = schemathesis.openapi.from_asgi("/openapi.json", app)


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_answer_is_one_that_the_description_has(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(headers={"authorization": f"Bearer {TOKEN}"})
