"""Alerts that ask for a refresh."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec


class AlertStatus(StrEnum):
    """What became of an episode of an alert that asked for a refresh."""

    OPEN = "open"  # the controller has not taken it yet
    ORDERED = "ordered"  # an order is placed, what became of it is awaited
    ANSWERED = "answered"  # the order is carried out, or has failed: its result says which
    UNNEEDED = "unneeded"  # no order: no table served yet that could be refreshed
    SUPPRESSED = "suppressed"  # it came within the cooldown of an episode before


class AlertEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One alert from when it began to fire until it is resolved, however often it is delivered.

    ``starts_at`` is a time in UTC, RFC 3339 to the microsecond; ``labels`` are those of the alert, long ones cut.
    """

    group_key: str
    fingerprint: str
    starts_at: str
    alert: str
    labels: dict[str, str] = {}

    @property
    def episode_id(self) -> str:
        """What tells the episode from others: a hash of group key, fingerprint and beginning."""
        key = msgspec.json.encode((self.group_key, self.fingerprint, self.starts_at))
        return hashlib.sha256(key).hexdigest()[:32]
