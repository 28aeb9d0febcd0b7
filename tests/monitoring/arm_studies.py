"""Sections ``arms`` as ``tidegate study --json`` writes them, made by hand."""

from __future__ import annotations

from typing import Any

from monitoring.wording import difference
from tests.monitoring.studies import study

RATES = {
    "fine_tune_only": 0.20,
    "rag_only": 0.22,
    "hybrid_calendar": 0.25,
    "hybrid_calendar+own": 0.28,
    "hybrid_adaptive": 0.28,
}
_PARTS = {
    "fine_tunes": ("hybrid_calendar", "rag_only"),
    "retrieval": ("hybrid_calendar", "fine_tune_only"),
    "retrieval_own": ("hybrid_calendar+own", "fine_tune_only"),
    "estimator": ("hybrid_calendar+own", "hybrid_calendar"),
    "timing": ("hybrid_adaptive", "hybrid_calendar+own"),
}
_FIGURES = {"hit_rate_next": "hits_next", "hit_rate_sequence": "hits_sequence", "hit_information_bits": "hit_bits"}


def fine_tune(day: int, why: str = "calendar", outcome: str = "taken_on", **more: Any) -> dict[str, Any]:
    return {
        "pane_end": f"2024-01-{day:02d}T00:00:00Z",
        "why": why,
        "numbers": {},
        "outcome": outcome,
        "taken_on": f"2024-01-{day + 1:02d}T00:00:00Z" if outcome == "taken_on" else None,
        "gates_lost": ["recall"] if outcome == "gates_lost" else [],
        "said": [],
        "fault": "the disk is full" if outcome == "failed" else None,
        "samples": 7_000,
        "steps": 300,
        "trained_rows": 80_000,
        "held_out_rows": 20_000,
        "recall": 0.21,
        "recall_before": 0.1,
        "recall_of_line": 0.15,
        "gpu_seconds": 30.0,
        **more,
    }


def arm(name: str, rate: float, fine_tunes: list[dict[str, Any]], n_panes: int) -> dict[str, Any]:
    """An arm whose hits swing a little from pane to pane."""
    panes = [
        {
            "pane_end": f"2024-01-{4 + at:02d}T00:00:00Z",
            "scored": 1_000,
            "hits_next": round(1_000 * rate) + (at * 7 + len(name)) % 5,
            "hits_sequence": round(1_500 * rate),
            "hit_bits": 3_000 * rate,
        }
        for at in range(n_panes)
    ]
    timing = {"rag_only": "never", "hybrid_adaptive": "flag"}.get(name, "calendar")
    later = {"inference": 1.5, "training": 30.0 * sum(each["why"] != "start" for each in fine_tunes)}
    later["total"] = later["inference"] + later["training"]
    return {
        "hit_rate_next": rate,
        "hit_rate_sequence": 1.5 * rate,
        "hit_information_bits": 3 * rate,
        "coverage": 0.95,
        "scored": 1_000 * n_panes,
        "first_table_calls": 700,
        "incremental_calls": 1_234,
        "fine_tunes_by": timing,
        "prompt_tokens": 25_000,
        "trained_tokens": 1_000_000,
        "gpu_seconds": {"first": {"inference": 0.1, "training": 30.0, "total": 30.1}, "later": later},
        "fine_tunes": fine_tunes,
        "by_pane": panes,
    }


def with_arms(rates: dict[str, float] | None = None, *, n_panes: int = 9, **more: list[dict[str, Any]]) -> Any:
    """Give a study with arms; `more` are fine-tunes after the start, by arm (with _ for +), one on day 8 by default."""
    arms = {}
    for name, rate in (RATES if rates is None else rates).items():
        usual = [] if name == "rag_only" else [fine_tune(8, "drift_since_fine_tune" if "adapt" in name else "calendar")]
        after = more.get(name.replace("+", "_"), usual)
        arms[name] = arm(name, rate, [fine_tune(3, "start"), *after], n_panes)
    for name, figures in arms.items():
        figures["less_subject"] = _less(arms, name, "hybrid_adaptive")
    section = {
        "fine_tune_every": "5d",
        "refreshed_every": "2d",
        "panes_scored": n_panes,
        "calendar_came_due": n_panes > 5,
        "subject": "hybrid_adaptive",
        "gpu": {
            "parameters": 1.7e9,
            "peak_tflops": 989.0,
            "inference_utilisation": 0.4,
            "training_utilisation": 0.35,
            "prompt_tokens": 200,
            "prompt_tokens_of_engine": 13,
            "rows_per_second": None,
            "train_tokens_per_second": None,
        },
        "parts": {part: _part(arms, *names) for part, names in _PARTS.items()},
        "arms": arms,
    }
    return {**study(), "arms": section}


def _part(arms: dict[str, Any], ours: str, theirs: str) -> dict[str, Any] | None:
    less = _less(arms, ours, theirs) if ours in arms and theirs in arms else None
    if less is None:
        return None
    seconds = [arms[name]["gpu_seconds"]["later"]["total"] for name in (ours, theirs)]
    return {"with": ours, "without": theirs, **less, "gpu_seconds_later": seconds[0] - seconds[1]}


def _less(arms: dict[str, Any], ours: str, theirs: str) -> dict[str, Any] | None:
    if ours == theirs or theirs not in arms:
        return None
    found = {name: difference(arms[ours], arms[theirs], figure) for name, figure in _FIGURES.items()}
    return {name: each and {"mean": each.mean, "margin": each.margin} for name, each in found.items()}
