"""Synthetic logs of watch events with planted, known interest drift, and their ground truth."""

from __future__ import annotations

from stream.worlds.catalogue import WORLDS, world_named
from stream.worlds.files import write_log, write_truth
from stream.worlds.interests import PlantedDrift
from stream.worlds.sessions import DayOfEvents
from stream.worlds.settings import Drift, DriftKind
from stream.worlds.world import World, expected_drift

__all__ = [
    "WORLDS",
    "DayOfEvents",
    "Drift",
    "DriftKind",
    "PlantedDrift",
    "World",
    "expected_drift",
    "world_named",
    "write_log",
    "write_truth",
]
