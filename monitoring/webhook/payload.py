"""What Alertmanager sends (webhook, version 4), and the episodes in it.

Delivery is at least once, by every member of a cluster, and a group's later deliveries name its alerts again: so an
episode, one alert from when it begins to fire, is known by group key, fingerprint and beginning. Fields that are not
needed are not read, those that newer versions add included, and no address in a payload is ever asked for anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from tidegate.contracts import AlertEpisode

_MAX_LABELS, _MAX_CHARACTERS = 32, 200
_UNNAMED = "unnamed"


class SentAlert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert of a delivery."""

    status: Literal["firing", "resolved"]
    fingerprint: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    starts_at: Annotated[datetime, msgspec.Meta(tz=True)]
    labels: dict[str, str] = {}


class Delivery(msgspec.Struct, frozen=True, rename="camel"):
    """Body of ``POST /alerts``."""

    group_key: Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)]
    alerts: list[SentAlert]
    version: Literal["4"] = "4"
    truncated_alerts: Annotated[float, msgspec.Meta(ge=0, le=2**32)] = 0  # JSON has one kind of number


@dataclass(frozen=True, slots=True)
class Found:
    """What a delivery holds.

    Attributes
    ----------
    episodes : tuple of AlertEpisode     that fire, each once
    n_resolved : int                     alerts that have ended: nothing is to be done
    n_truncated : int                    alerts that were left out of the delivery
    """

    episodes: tuple[AlertEpisode, ...]
    n_resolved: int
    n_truncated: int


class MalformedError(Exception):
    """A body is no delivery; the message says why."""


def read_delivery(body: bytes | bytearray) -> Found:
    """Read a body.

    Raises
    ------
    MalformedError
        If it is no delivery of version 4.

    Examples
    --------
    >>> body = b'{"version":"4","groupKey":"g","alerts":[{"status":"firing","fingerprint":"f",'
    >>> found = read_delivery(body + b'"startsAt":"2026-01-01T01:00:00+01:00","labels":{"alertname":"Drift"}}]}')
    >>> found.episodes[0].alert, found.episodes[0].starts_at
    ('Drift', '2026-01-01T00:00:00.000000Z')
    """
    try:
        delivery = msgspec.json.decode(body, type=Delivery)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"the body is no delivery of Alertmanager's: {error}") from error
    firing = [alert for alert in delivery.alerts if alert.status == "firing"]
    return Found(
        _episodes(delivery.group_key, firing), len(delivery.alerts) - len(firing), int(delivery.truncated_alerts)
    )


def _episodes(group_key: str, alerts: Iterable[SentAlert]) -> tuple[AlertEpisode, ...]:
    found: dict[str, AlertEpisode] = {}
    for alert in alerts:
        episode = AlertEpisode(
            group_key=group_key,
            fingerprint=alert.fingerprint,
            starts_at=_utc(alert.starts_at),
            alert=alert.labels.get("alertname", "")[:_MAX_CHARACTERS] or _UNNAMED,
            labels=_shortened(alert.labels),
        )
        found.setdefault(episode.episode_id, episode)
    return tuple(found.values())


def _utc(time: datetime) -> str:
    """Write a time one way, however it came: a zone is no part of an episode."""
    with suppress(OverflowError):  # at an end of the calendar: it is told apart as it came
        time = time.astimezone(UTC)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _shortened(labels: dict[str, str]) -> dict[str, str]:
    kept = sorted(labels.items())[:_MAX_LABELS]
    return {name[:_MAX_CHARACTERS]: value[:_MAX_CHARACTERS] for name, value in kept}
