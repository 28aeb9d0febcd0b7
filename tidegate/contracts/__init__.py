"""Wire records: what the rooms say to each other, in one process or through topics.

All are frozen msgspec structs; unknown fields are ignored when read, so that an older reader meets a newer writer.
Times are milliseconds since the Unix epoch, UTC. Cluster ids are those of the run's catalogue.
"""

from __future__ import annotations

from tidegate.contracts.alerts import AlertEpisode, AlertStatus
from tidegate.contracts.decisions import Decision
from tidegate.contracts.drift import DriftCourse, DriftReport, FrontDrift, PairDrift
from tidegate.contracts.drift_levels import BackoffDrift, BackoffRowDrift, ClusterDrift, LevelDrift
from tidegate.contracts.encoding import encode
from tidegate.contracts.fine_tunes import (
    FineTune,
    FineTuneAction,
    FineTuneFlag,
    FineTuneReason,
    FineTuneStatus,
    FineTuneStep,
)
from tidegate.contracts.orders import OrderPlaced, Reason, RefreshOrder, RowOrder, Trigger
from tidegate.contracts.results import GateVerdict, RefreshResult
from tidegate.contracts.service import ANSWER_BOUNDS_SECONDS, ServiceFigures
from tidegate.contracts.training import FineTuneReport, RecallCheck

__all__ = [
    "ANSWER_BOUNDS_SECONDS",
    "AlertEpisode",
    "AlertStatus",
    "BackoffDrift",
    "BackoffRowDrift",
    "ClusterDrift",
    "Decision",
    "DriftCourse",
    "DriftReport",
    "FineTune",
    "FineTuneAction",
    "FineTuneFlag",
    "FineTuneReason",
    "FineTuneReport",
    "FineTuneStatus",
    "FineTuneStep",
    "FrontDrift",
    "GateVerdict",
    "LevelDrift",
    "OrderPlaced",
    "PairDrift",
    "Reason",
    "RecallCheck",
    "RefreshOrder",
    "RefreshResult",
    "RowOrder",
    "ServiceFigures",
    "Trigger",
    "encode",
]
