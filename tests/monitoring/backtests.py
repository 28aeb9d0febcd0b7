"""Plausible results of backtests, in the shape that ``tidegate backtest --json`` writes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.clock import iso_utc

DAY_MS = 86_400_000
START_MS = 1_650_758_400_000  # 2022-04-24, midnight
WINDOW_PANES = 3


def unjudged(end: str = "2022-05-03T00:00:00Z") -> dict[str, Any]:
    """Make a window in which no pair was seen often enough."""
    return {"window_end": end, "drift_mean": None, "pairs": 0, "flagged_pairs": 0, "alarmed": False}


def policy(
    rate: float = 0.24,
    *,
    bits_each: float = 2.0,
    calls: Sequence[int] = (),
    first: int = 0,
    reasons: Mapping[int, Mapping[str, int]] | None = None,
    coverage: float = 1.0,
    n_panes: int = 12,
    scored: int = 3_000,
    price: float = 0.3,
    seed: int = 1,
    noise: float = 0.004,
) -> dict[str, Any]:
    """Make a policy's figures.

    Parameters
    ----------
    bits_each : information of one hit
    calls : of the panes, from the first on; then none
    reasons : rows by reason, of some panes
    noise : by which the panes' rates differ at most from `rate`
    """
    draw = random.Random(seed)
    panes = []
    for i in range(n_panes):
        hits = round(scored * (rate + draw.uniform(-noise, noise)))
        n_calls = calls[i] if i < len(calls) else 0
        panes.append(_pane(i, scored, hits, bits_each, n_calls, (reasons or {}).get(i, {})))
    total, hits = scored * n_panes, sum(pane["hits_next"] for pane in panes)
    spent = first + sum(pane["llm_calls"] for pane in panes)
    return {
        "hit_rate_next": hits / total,
        "hit_rate_sequence": 1.6 * hits / total,
        "hit_information_bits": bits_each * hits / total,
        "entropy_bits": 2.4,
        "coverage": coverage,
        "scored": total,
        "llm_calls": spent,
        "first_table_calls": first,
        "incremental_calls": spent - first,
        "refreshes": sum(pane["llm_calls"] > 0 for pane in panes) + (first > 0),
        "cost": price * spent + total - hits,
        "regret": None,
        "by_pane": panes,
    }


def backtest(policies: dict[str, dict[str, Any]], *, alarmed: tuple[int, ...] = (), **more: Any) -> dict[str, Any]:
    """Make a backtest of `policies`, whose panes follow a first window of 3."""
    n_panes = len(next(iter(policies.values()))["by_pane"]) if policies else 0
    drift = [
        {
            "window_end": _end(i),
            "drift_mean": 0.12 if i in alarmed else 0.004 * (-1) ** i,
            "pairs": 310,
            "flagged_pairs": 24 if i in alarmed else 0,
            "alarmed": i in alarmed,
        }
        for i in range(WINDOW_PANES, n_panes)
    ]
    if "oracle" in policies:
        least = policies["oracle"]["cost"]
        policies = {name: figures | {"regret": figures["cost"] - least} for name, figures in policies.items()}
    return {
        "source": "log.csv",
        "engine": "frequency",
        "pane": "1d",
        "window": "3d",
        "gap": "1d",
        "positive": "engagement >= 0.5",
        "price": 0.3,
        "seed": 0,
        "events": 120_000,
        "outcomes": {"counted": 79_990, "negative": 39_990, "malformed": 20},
        "clusters": 761,
        "transitions": 45_000,
        "panes": n_panes + WINDOW_PANES,
        "windows": len(drift),
        "windows_alarmed": len(alarmed),
        "drift": drift,
        "policies": policies,
    } | more


def all_kinds() -> dict[str, dict[str, Any]]:
    """Make one or more of each kind, on a log where rows of pairs pay."""
    schedule = {"coverage": 0.9, "first": 900}
    return {
        "never": policy(0.17, first=900, coverage=0.8, seed=2),
        "popular": policy(0.13, bits_each=1.2, seed=3),
        "backoff": policy(0.20, seed=4),
        "backoff+own": policy(0.21, seed=5),
        "every:2": policy(0.22, calls=[0, 1_000] * 5, seed=6, **schedule),
        "always": policy(0.225, calls=[1_000] * 11, seed=7, **schedule),
        "always+own": policy(0.241, calls=[200] * 11, first=900, seed=8),
        "jaccard:0.3": policy(0.19, calls=[0, 0, 0, 1_000], seed=9, **schedule),
        "adaptive": policy(0.24, calls=[40, 10, 5, 20], first=80, reasons=_reasons(), seed=1),
        "adaptive:1": policy(0.235, calls=[10, 5], first=30, reasons={0: {"evidence": 10}}, seed=10),
        "oracle": policy(0.26, calls=[30, 30], first=60, reasons={0: {"evidence": 30}}, seed=11),
    }


def _reasons() -> dict[int, dict[str, int]]:
    return {0: {"first_sight": 38, "evidence": 7}, 1: {"evidence": 10}, 2: {"evidence": 5}, 3: {"drift": 20}}


def _end(i: int) -> str:
    return iso_utc(START_MS + (WINDOW_PANES + i + 1) * DAY_MS)


def _pane(i: int, scored: int, hits: int, bits_each: float, calls: int, reasons: Mapping[str, int]) -> dict[str, Any]:
    return {
        "pane_end": _end(i),
        "scored": scored,
        "hits_next": hits,
        "hits_sequence": round(1.6 * hits),
        "hit_bits": bits_each * hits,
        "entropy_bits": 2.4,
        "trigger": "policy" if reasons else "schedule" if calls else None,
        "reasons": dict(reasons),
        "llm_calls": calls,
        "reused": 3,
        "rows_changed": round(0.8 * calls),
        "explanation": f"rows taken: {calls}" if calls else "not due",
    }
