"""What arms came to: the section ``arms`` of ``tidegate study --json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from monitoring.wording import difference
from refresh.fine_tune_flag import FlagOptions
from refresh.policies import PolicyOptions
from refresh.study.gpu_time import GpuRule, Work
from tidegate.cli.arm_playing import START, ArmFineTune, ArmPlay
from tidegate.cli.standings import standing
from tidegate.clock import iso_utc

SUBJECT = "hybrid_adaptive"
_HALVES = {
    "fine_tunes": ("hybrid_calendar", "rag_only"),
    "retrieval": ("hybrid_calendar", "fine_tune_only"),
    "retrieval_own": ("hybrid_calendar+own", "fine_tune_only"),
    "estimator": ("hybrid_calendar+own", "hybrid_calendar"),
    "timing": ("hybrid_adaptive", "hybrid_calendar+own"),
}
"""What each part of the hybrid brings: the arm that has it, and the one that is the same without."""
_LEFT_OUT = ("cost", "regret")  # GPU-seconds are what arms cost


@dataclass(frozen=True, slots=True)
class ArmFacts:
    """What arms were played with.

    Attributes
    ----------
    fine_tune_every, refreshed_every : str    the two calendars
    prompt_tokens : int                       of the studied engine's prompts
    """

    fine_tune_every: str
    refreshed_every: str
    fine_tune_panes: int
    pane_ms: int
    gpu: GpuRule
    prompt_tokens: int
    flags: FlagOptions
    policy: PolicyOptions


def arms_section(plays: Sequence[ArmPlay], scored: Sequence[int], facts: ArmFacts) -> dict[str, Any]:
    """Put all figures of arms together.

    Parameters
    ----------
    scored : panes that were scored, ascending
    """
    arms = {play.arm.name: _arm(play, scored, facts) for play in plays}
    for name, figures in arms.items():
        figures["less_subject"] = _less(arms, name, SUBJECT)
    return {
        "fine_tune_every": facts.fine_tune_every,
        "refreshed_every": facts.refreshed_every,
        "panes_scored": len(scored),
        "calendar_came_due": len(scored) > facts.fine_tune_panes,
        "subject": SUBJECT,
        "gpu": {
            **asdict(facts.gpu),
            "prompt_tokens": facts.gpu.prompt_tokens or facts.prompt_tokens,
            "prompt_tokens_of_engine": facts.prompt_tokens,
        },
        "flags": asdict(facts.flags),
        "policy": asdict(facts.policy),
        "parts": {part: _part(arms, *names) for part, names in _HALVES.items()},
        "arms": arms,
    }


def _arm(play: ArmPlay, scored: Sequence[int], facts: ArmFacts) -> dict[str, Any]:
    found = standing(play.contender, scored, facts.pane_ms, 0.0)
    first = Work(n_asked=found["first_table_calls"]) + _work(each for each in play.fine_tunes if each.why == START)
    later = Work(n_asked=found["incremental_calls"]) + _work(each for each in play.fine_tunes if each.why != START)
    n_tokens = facts.gpu.prompt_tokens or facts.prompt_tokens
    return {
        **{name: value for name, value in found.items() if name not in _LEFT_OUT},
        "policy": play.arm.policy.name,
        "fine_tunes_by": str(play.arm.timing),
        "asked_with_lines": play.arm.shows_lines,
        "prompt_tokens": (first + later).n_asked * n_tokens,
        "trained_rows": (first + later).n_taught,
        "trained_tokens": (first + later).n_taught * n_tokens,
        "held_out_rows": (first + later).n_looked_at,
        "gpu_seconds": {
            "first": facts.gpu.seconds(first, facts.prompt_tokens).as_facts,
            "later": facts.gpu.seconds(later, facts.prompt_tokens).as_facts,
            "all": facts.gpu.seconds(first + later, facts.prompt_tokens).as_facts,
        },
        "fine_tunes": [_fine_tune(each, facts) for each in play.fine_tunes],
    }


def _work(fine_tunes: Iterable[ArmFineTune]) -> Work:
    return sum((each.tuned.work for each in fine_tunes if each.tuned is not None), Work())


def _fine_tune(made: ArmFineTune, facts: ArmFacts) -> dict[str, Any]:
    tuned, report = made.tuned, made.tuned.report if made.tuned else None
    work = tuned.work if tuned else Work()
    return {
        "pane_end": iso_utc((made.pane + 1) * facts.pane_ms),
        "why": made.why,
        "numbers": made.numbers,
        "outcome": _outcome(made),
        "taken_on": None if made.taken_on_pane is None else iso_utc((made.taken_on_pane + 1) * facts.pane_ms),
        "gates_lost": tuned.gates_lost if tuned else [],
        "said": [verdict.sentence for verdict in tuned.verdicts if not verdict.is_passed] if tuned else [],
        "fault": tuned.fault if tuned else None,
        "samples": report.n_taught if report else 0,
        "steps": len(report.losses) if report else 0,
        "trained_rows": work.n_taught,
        "held_out_rows": work.n_looked_at,
        "recall": report.recall if report else None,
        "recall_before": report.base_recall if report else None,
        "recall_of_line": report.line_recall if report else None,
        "gpu_seconds": facts.gpu.seconds(work, facts.prompt_tokens).total,
    }


def _outcome(made: ArmFineTune) -> str:
    if made.tuned is None:
        return "too_late"
    if made.tuned.fault is not None:
        return "failed"
    return "taken_on" if made.taken_on_pane is not None else "gates_lost"


def _part(arms: Mapping[str, Any], ours: str, theirs: str) -> dict[str, Any] | None:
    """Say what the arm that has a part of the hybrid hits and costs more; None where one of the two was not played."""
    if ours not in arms or theirs not in arms:
        return None
    seconds = [arms[name]["gpu_seconds"]["later"]["total"] for name in (ours, theirs)]
    return {
        "with": ours,
        "without": theirs,
        **(_less(arms, ours, theirs) or {}),
        "gpu_seconds_later": seconds[0] - seconds[1],
    }


def _less(arms: Mapping[str, Any], ours: str, theirs: str) -> dict[str, Any] | None:
    """Compare two arms, paired by pane; None for an arm itself, and where the other was not played."""
    if ours == theirs or theirs not in arms:
        return None
    pairs = {"hit_rate_next": "hits_next", "hit_rate_sequence": "hits_sequence", "hit_information_bits": "hit_bits"}
    found = {name: difference(arms[ours], arms[theirs], figure) for name, figure in pairs.items()}
    return {name: None if each is None else asdict(each) for name, each in found.items()}
