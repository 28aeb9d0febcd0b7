"""Settings of the roles that share a run: workers, evaluators, controller, refreshers.

They are those of ``tidegate run`` and a few more, and are meant to be one file that all roles are given: a run is known
by its source and flags, so roles that are set differently work on different runs.
"""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator
from pydantic_core.core_schema import ValidationInfo

from tidegate.config import NEVER, RunSettings
from tidegate.config.names import flag_of
from tidegate.durations import parse_duration

_DURATIONS = ("gate", "checkpoint_interval", "idle_after", "store_patience", "retention")
_MAY_BE_NONE = ("gate", "retention")
_OWN = {
    "store",
    "group",
    "instance",
    "gate",
    "until_end",
    "dead_letters",
    "max_bad_share",
    "checkpoint_interval",
    "max_waiting",
    "idle_after",
    "store_patience",
    "topics",
    "retention",
    "drift_parts",
}


class GroupSettings(RunSettings):
    """What workers, evaluators, controller and refreshers are told."""

    store: SecretStr | None = Field(
        None, description="postgresql://USER@HOST/NAME, or a file (SQLite); default: runs.db in the home folder"
    )
    group: str | None = Field(None, description="consumer group of the workers; default: tidegate- and the run's name")
    instance: str | None = Field(
        None, description="name of this worker that outlives a restart (static membership): no rebalance for it"
    )
    gate: str = Field(
        "10m", description="how long a worker waits at a pane for the decision on the pane before; 'none' never does"
    )
    until_end: bool = Field(False, description="read to the ends that the partitions have now, and stop")
    dead_letters: str | None = Field(None, description="topic for records that cannot be counted; default: dropped")
    max_bad_share: float = Field(0.05, gt=0, le=1, description="share of such records above which a worker stops")
    checkpoint_interval: str = Field("1s", description="least time between commits of a partition")
    max_waiting: int = Field(500_000, ge=1, description="events that a partition may hold while it waits at a pane")
    idle_after: str = Field("30s", description="rest at a partition's end after which it holds nobody back")
    store_patience: str = Field("5m", description="how long the store may be away before a role gives up")
    topics: str = Field("tidegate", description="prefix of the topics between roles: .drift, .orders, .results")
    retention: str = Field("90d", description="event time after which panes are dropped from the store; or 'none'")
    drift_parts: int = Field(
        1, ge=1, le=64, description="parts that a window's pairs are measured in, by as many evaluators as there are"
    )

    @field_validator(*_DURATIONS)
    @classmethod
    def _is_waiting_time(cls, text: str, info: ValidationInfo) -> str:
        name = info.field_name or ""
        if not (name in _MAY_BE_NONE and text == NEVER):
            parse_duration(text, name=flag_of(name))
        return text

    @classmethod
    def _apart(cls) -> set[str]:
        return super()._apart() | _OWN

    def duration_ms(self, name: str) -> int | None:
        """Read one of the durations in ms; None where it is 'none'."""
        text: str = getattr(self, name)
        return None if text == NEVER else parse_duration(text, name=flag_of(name))

    def identity(self) -> str:
        """Write what the run is known by; it is never taken for a run of one process with the same flags."""
        return f"workers {super().identity()}"
