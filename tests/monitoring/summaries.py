"""Plausible summaries of runs, in the shape that ``tidegate run --json`` writes."""

from __future__ import annotations

import random
from typing import Any

from tidegate.clock import iso_utc

DAY_MS = 86_400_000
START_MS = 1_650_758_400_000  # 2022-04-24, midnight


def summary(
    *,
    n_panes: int = 20,
    rate: float = 0.24,
    calls_every: int = 0,
    calls_each: int = 0,
    bits: float = 0.48,
    alarmed: tuple[int, ...] = (),
    flagged: tuple[int, ...] = (),
    seed: int = 1,
) -> dict[str, Any]:
    """Make a run whose first table comes after 3 panes; the same arguments give the same run."""
    draw = random.Random(seed)
    by_pane = [_pane(i, rate, calls_every, calls_each, i in flagged, draw) for i in range(n_panes)]
    scored = sum(pane["scored"] for pane in by_pane)
    calls = sum(pane["llm_calls"] for pane in by_pane)
    first = by_pane[2]["llm_calls"] if n_panes > 2 else 0
    reports = [_report(i, i in alarmed, draw) for i in range(5, n_panes)]
    flags = [
        {"window_end": _end(i), "reason": "drift_since_fine_tune", "numbers": {"drift": 0.21, "level": 0.15}}
        for i in flagged
    ]
    return {
        "run_id": "a1b2c3",
        "source": "log.csv",
        "engine": "frequency",
        "events": 120_000 if n_panes else 0,
        "positives": 80_000 if n_panes else 0,
        "outcomes": {"counted": 79_990, "negative": 39_990, "malformed": 10, "late": 10} if n_panes else {},
        "clusters": 761,
        "sequences": 9_000,
        "transitions": 60_000,
        "pairs": 21_000,
        "panes": n_panes,
        "windows": len(reports),
        "refreshes": sum(pane["llm_calls"] > 0 for pane in by_pane),
        "llm_calls": calls,
        "first_table_calls": first,
        "incremental_calls": calls - first,
        "hit_rate_next": sum(pane["hits_next"] for pane in by_pane) / scored if scored else None,
        "hit_rate_sequence": sum(pane["hits_sequence"] for pane in by_pane) / scored if scored else None,
        "hit_information_bits": bits if scored else None,
        "coverage": 0.93 if scored else None,
        "scored": scored,
        "table_version": 7 if scored else None,
        "finetune_flags": len(flags),
        "flags": flags,
        "issues": [_issue(line) for line in (17, 230)] if n_panes else [],
        "reports": reports,
        "by_pane": by_pane,
    }


def three_policies(**about_adaptive: Any) -> dict[str, dict[str, Any]]:
    """Make the demo's runs: adaptive, never and every:2d on one log."""
    adaptive: dict[str, Any] = {"rate": 0.241, "calls_every": 1, "calls_each": 70, "alarmed": (11, 12, 13)}
    return {
        "adaptive": summary(**adaptive | {"flagged": (13,)} | about_adaptive),
        "never": summary(rate=0.205, bits=0.41, seed=2),
        "every:2d": summary(rate=0.236, calls_every=2, calls_each=1_500, bits=0.47, seed=3),
    }


def _end(i: int) -> str:
    return iso_utc(START_MS + (i + 1) * DAY_MS)


def _pane(
    i: int, rate: float, calls_every: int, calls_each: int, is_flagged: bool, draw: random.Random
) -> dict[str, Any]:
    scored = 3_000 + 200 * (i % 5) if i > 2 else 0
    hits = round(scored * (rate + draw.uniform(-0.004, 0.004) - (0.02 if 10 < i < 13 else 0)))
    is_first = i == 2
    buys = is_first or (i > 2 and calls_every > 0 and (i - 2) % calls_every == 0)
    calls = 1_480 if is_first else calls_each if buys else 0
    return {
        "pane_end": _end(i),
        "transitions": 3_000,
        "scored": scored,
        "hits_next": hits,
        "hits_sequence": round(hits * 1.6),
        "hit_bits": hits * 2.0,
        "answered": round(scored * 0.93),
        "trigger": ("first_table" if is_first else "policy") if buys else None,
        "reasons": ({"first_table": calls} if is_first else {"evidence": calls - 8, "drift": 8}) if buys else {},
        "llm_calls": calls,
        "rows_changed": round(calls * 0.8),
        "table_version": i - 1 if i >= 2 else None,
        "flag": "drift_since_fine_tune" if is_flagged else None,
        "explanation": None if i < 2 else f"rows bought: {calls} by evidence" if buys else "not due",
    }


def _report(i: int, is_alarmed: bool, draw: random.Random) -> dict[str, Any]:
    null = 0.42 + draw.uniform(-0.02, 0.02)
    drift = (0.12 if is_alarmed else 0.0) + draw.uniform(-0.008, 0.008)
    return {
        "window_end": _end(i),
        "jaccard_mean": null * (1 - drift) + 0.02,
        "jaccard_matched_mean": null * (1 - drift),
        "jaccard_variance": 0.02,
        "null_mean": null,
        "drift_mean": drift,
        "drift_traffic_mean": drift * 1.2,
        "pairs": 310,
        "flagged_pairs": 24 if is_alarmed else 0,
        "table_z": 9.1 if is_alarmed else 0.4,
        "alarmed": is_alarmed,
    }


def _issue(line: int) -> dict[str, str]:
    return {
        "outcome": "malformed",
        "place": f"log.csv:{line}",
        "found": "the time '2022-13-41' is no date",
        "mend": "Write ISO 8601 or milliseconds",
    }
