"""What a backtest came to: the JSON of ``tidegate backtest --json``, and the figures behind its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.sequence_kernel import ANSWERED, HIT_MICROBITS, HITS_NEXT, HITS_SEQUENCE, SCORED
from tidegate.cli.contender import Contender, PaneStep
from tidegate.clock import iso_utc


def standing(contender: Contender, panes: Sequence[int], pane_ms: int, price: float) -> dict[str, Any]:
    """Add up one policy's panes. `regret` is left to whoever knows the oracle.

    Parameters
    ----------
    panes : that were scored, ascending
    price : misses that one call must save
    """
    steps = {step.pane: step for step in contender.steps}
    figures = np.array([contender.sequences.stats.of_pane(pane) for pane in panes], np.int64)
    totals = figures.sum(axis=0)
    calls = [step.result.llm_calls for step in contender.steps]
    scored, hits = int(totals[SCORED]), int(totals[HITS_NEXT])
    return {
        "hit_rate_next": hits / scored,
        "hit_rate_sequence": int(totals[HITS_SEQUENCE]) / scored,
        "hit_information_bits": float(totals[HIT_MICROBITS]) / 1e6 / scored,
        "entropy_bits": entropy_bits(list(contender.served.values())),
        "coverage": int(totals[ANSWERED]) / scored,
        "scored": scored,
        "llm_calls": sum(calls),
        "first_table_calls": calls[0],
        "incremental_calls": sum(calls[1:]),
        "refreshes": sum(step.result.llm_calls + step.result.reused > 0 for step in contender.steps),
        "cost": price * sum(calls) + scored - hits,
        "regret": None,
        "by_pane": [
            _pane(pane, row, pane_ms, contender.served.get(pane), steps.get(pane))
            for pane, row in zip(panes, figures, strict=True)
        ],
    }


def entropy_bits(served: Sequence[NDArray[np.int64]]) -> float:
    """Entropy of what was served, each answer as often as it was: 0 where it was always the same cluster.

    Examples
    --------
    >>> entropy_bits([np.array([1, 1]), np.array([1, 1, 2])])
    1.584962500721156
    """
    totals = np.zeros(max((each.shape[0] for each in served), default=0))
    for each in served:
        totals[: each.shape[0]] += each
    shares = totals[totals > 0] / max(1.0, totals.sum())
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def _pane(
    pane: int, figures: NDArray[np.int64], pane_ms: int, served: NDArray[np.int64] | None, step: PaneStep | None
) -> dict[str, Any]:
    scored = int(figures[SCORED])
    return {
        "pane_end": iso_utc((pane + 1) * pane_ms),
        "scored": scored,
        "hits_next": int(figures[HITS_NEXT]),
        "hits_sequence": int(figures[HITS_SEQUENCE]),
        "hit_bits": float(figures[HIT_MICROBITS]) / 1e6,
        "entropy_bits": entropy_bits([] if served is None else [served]),
        "trigger": step.trigger if step else None,
        "reasons": step.reasons if step else {},
        "llm_calls": step.result.llm_calls if step else 0,
        "reused": step.result.reused if step else 0,
        "rows_changed": step.result.rows_changed if step else 0,
        "explanation": step.explanation if step else None,
    }


def with_regret(policies: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Fill in what each policy cost more than the oracle, where it took part."""
    if "oracle" not in policies:
        return policies
    least = policies["oracle"]["cost"]
    return {name: {**figures, "regret": figures["cost"] - least} for name, figures in policies.items()}
