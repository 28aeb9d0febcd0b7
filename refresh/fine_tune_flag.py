"""When refreshing is no longer enough: flags that ask a person for new weights, each with its reason and numbers.

Fresh context can repair what a row is told, not what the model has learnt. New weights are asked for when the hit
rate stays below its level after the last fine-tune although context is fresh, when drift against the window that the
weights were tuned on persists, or when the weights pass an age limit. One flag stays open until a person has answered
it; then what persists is counted anew, and age from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from tidegate.contracts import DriftReport, FineTuneFlag, FineTuneReason

_MS_PER_DAY = 86_400_000


class FlagAnswer(StrEnum):
    """What a person has said to a flag."""

    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class FlagOptions:
    """When a flag is raised.

    Attributes
    ----------
    drift_share : float          traffic-weighted drift since the fine-tune, of a window that drifts as a whole
    hit_rate_loss : float        relative fall below the level after the fine-tune
    patience_panes : int         panes in a row that one of the two must persist
    max_age_days : float
    level_panes : int            scored panes after the fine-tune that make up its level
    """

    drift_share: float = 0.10
    hit_rate_loss: float = 0.10
    patience_panes: int = 3
    max_age_days: float = 35.0
    level_panes: int = 3


class FineTuneState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered between panes: since when the weights serve, their level, and what persists."""

    tuned_window_end_ms: int
    level_hits: int = 0
    level_scored: int = 0
    n_level_panes: int = 0
    n_panes_drifted: int = 0
    n_panes_below: int = 0
    is_flagged: bool = False
    flag_id: str | None = None
    """Of the flag that is open."""
    answered_window_end_ms: int | None = None
    """End of the window at which the last answer to a flag was seen."""

    @property
    def hit_rate_level(self) -> float | None:
        """Hit rate of the first scored panes after the fine-tune."""
        return self.level_hits / self.level_scored if self.level_scored else None


@dataclass(frozen=True, slots=True)
class PaneEvidence:
    """What one pane says about the weights.

    Attributes
    ----------
    since_fine_tune : DriftReport | None    this window against the one that the weights were tuned on
    scored, hits : int                      transitions of the pane that a table scored, and next-hits among them
    """

    run_id: str
    window_end_ms: int
    since_fine_tune: DriftReport | None
    scored: int
    hits: int


def judge_weights(
    state: FineTuneState, pane: PaneEvidence, options: FlagOptions
) -> tuple[FineTuneState, FineTuneFlag | None]:
    """Fold one pane into the state; returns a flag when one of the reasons has come true. Pure.

    Examples
    --------
    >>> state = FineTuneState(tuned_window_end_ms=0)
    >>> pane = PaneEvidence("run", 40 * 86_400_000, None, scored=10, hits=3)
    >>> judge_weights(state, pane, FlagOptions())[1].reason
    <FineTuneReason.AGE: 'weights_too_old'>
    """
    state = _fold(state, pane, options)
    if state.is_flagged:
        return state, None
    found = _reason(state, pane, options)
    if found is None:
        return state, None
    reason, numbers = found
    flag = FineTuneFlag(
        flag_id=f"{pane.run_id}-{pane.window_end_ms}", window_end_ms=pane.window_end_ms, reason=reason, numbers=numbers
    )
    return msgspec.structs.replace(state, is_flagged=True, flag_id=flag.flag_id), flag


def answered(state: FineTuneState, window_end_ms: int) -> FineTuneState:
    """Lower the flag: a person has answered it. What goes on persisting is flagged again after its patience. Pure."""
    return msgspec.structs.replace(
        state,
        is_flagged=False,
        flag_id=None,
        n_panes_drifted=0,
        n_panes_below=0,
        answered_window_end_ms=window_end_ms,
    )


def _fold(state: FineTuneState, pane: PaneEvidence, options: FlagOptions) -> FineTuneState:
    report, level = pane.since_fine_tune, state.hit_rate_level
    is_settled = state.n_level_panes >= options.level_panes
    has_drifted = report is not None and report.alarmed and (report.drift_traffic_mean or 0.0) > options.drift_share
    is_below = (
        is_settled
        and level is not None
        and pane.scored > 0
        and pane.hits / pane.scored < level * (1 - options.hit_rate_loss)
    )
    adds_to_level = not is_settled and pane.scored > 0
    return msgspec.structs.replace(
        state,
        level_hits=state.level_hits + (pane.hits if adds_to_level else 0),
        level_scored=state.level_scored + (pane.scored if adds_to_level else 0),
        n_level_panes=state.n_level_panes + adds_to_level,
        n_panes_drifted=state.n_panes_drifted + 1 if has_drifted else 0,
        n_panes_below=state.n_panes_below + 1 if is_below else 0,
    )


def _reason(
    state: FineTuneState, pane: PaneEvidence, options: FlagOptions
) -> tuple[FineTuneReason, dict[str, float]] | None:
    if state.n_panes_below >= options.patience_panes:
        return FineTuneReason.HIT_RATE, {
            "hit_rate": pane.hits / pane.scored,
            "hit_rate_level": state.hit_rate_level or 0.0,
            "panes": state.n_panes_below,
        }
    if state.n_panes_drifted >= options.patience_panes and pane.since_fine_tune is not None:
        return FineTuneReason.DRIFT, {
            "drift_traffic_mean": pane.since_fine_tune.drift_traffic_mean or 0.0,
            "table_z": pane.since_fine_tune.table_z or 0.0,
            "panes": state.n_panes_drifted,
        }
    age_days = (pane.window_end_ms - state.tuned_window_end_ms) / _MS_PER_DAY
    excused_until_ms = max(state.tuned_window_end_ms, state.answered_window_end_ms or 0)
    if pane.window_end_ms - excused_until_ms > options.max_age_days * _MS_PER_DAY:
        return FineTuneReason.AGE, {"age_days": age_days, "max_age_days": options.max_age_days}
    return None
