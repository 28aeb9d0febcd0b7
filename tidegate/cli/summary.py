"""What a whole run came to: the JSON of ``tidegate run --json``, and the figures behind report and terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from stream.sequence_kernel import (
    ANSWERED,
    HIT_MICROBITS,
    HITS_NEXT,
    HITS_SEQUENCE,
    SCORED,
    SEQUENCES,
    TRANSITIONS,
)
from stream.store import RunStore
from stream.worker import StreamWorker
from tidegate.cli.deciding import is_published
from tidegate.cli.records import PaneRecord
from tidegate.clock import iso_utc
from tidegate.contracts import DriftReport, FrontDrift, RefreshResult, Trigger
from tidegate.counts import pair_of_key


def summarise(
    store: RunStore,
    worker: StreamWorker,
    records: Sequence[PaneRecord],
    of_alerts: Sequence[RefreshResult] = (),
    **about: Any,
) -> dict[str, Any]:
    """Add a run up. Rates are None before anything was scored; names are those of the documentation.

    Parameters
    ----------
    store, worker : of the run
    records : one a closed pane, ascending
    of_alerts : results of the orders that alerts asked for, between panes
    about : further entries (source, policy, engine …)
    """
    stats, outcomes = worker.sequences.stats.values, worker.outcomes
    totals = stats.sum(axis=0) if stats.shape[0] else np.zeros(HIT_MICROBITS + 1, np.int64)
    results = [*(record.result for record in records if record.result is not None), *of_alerts]
    refreshes = [result for result in results if result.llm_calls + result.reused]
    refused = [result for result in results if not is_published(result)]
    flags = [record.decision.flag for record in records if record.decision is not None and record.decision.flag]
    reports = [record.report for record in records if record.report is not None]
    first_calls = first_table_calls(results)
    llm_calls = sum(result.llm_calls for result in results)
    counts = store.counts(-(2**62), 2**62)
    return {
        "run_id": store.run_id,
        **about,
        "events": sum(outcomes.values()),
        "positives": outcomes.get("counted", 0) + outcomes.get("late", 0),  # type: ignore[call-overload]
        "outcomes": {str(outcome): n for outcome, n in outcomes.items()},
        "clusters": len(worker.catalogue.names),
        "sequences": int(totals[SEQUENCES]),
        "transitions": int(totals[TRANSITIONS]),
        "pairs": int(np.unique(pair_of_key(counts.keys)).shape[0]),
        "panes": len(records),
        "windows": len(reports),
        "refreshes": sum(is_published(result) for result in refreshes),
        "refused": [_refused_entry(result) for result in refused],
        "llm_calls": llm_calls,
        "first_table_calls": first_calls,
        "incremental_calls": llm_calls - first_calls,
        "hit_rate_next": _rate(totals[HITS_NEXT], totals[SCORED]),
        "hit_rate_sequence": _rate(totals[HITS_SEQUENCE], totals[SCORED]),
        "hit_information_bits": _rate(totals[HIT_MICROBITS] / 1e6, totals[SCORED]),
        "coverage": _rate(totals[ANSWERED], totals[SCORED]),
        "scored": int(totals[SCORED]),
        "table_version": next((r.table_version for r in reversed(records) if r.table_version is not None), None),
        "model": next((r.model for r in reversed(records) if r.model is not None), None),
        "finetune_flags": len(flags),
        "flags": [
            {"window_end": iso_utc(f.window_end_ms), "reason": str(f.reason), "numbers": f.numbers} for f in flags
        ],
        "issues": [{"outcome": i.outcome, "place": i.place, "found": i.found, "mend": i.mend} for i in worker.issues],
        "reports": [_report_entry(report) for report in reports],
        "by_pane": [_pane_entry(record, worker) for record in records],
    }


def first_table_calls(results: Iterable[RefreshResult]) -> int:
    """Return the calls of the first table, all attempts at it: 0 where counts alone made it."""
    return sum(result.llm_calls for result in results if result.trigger is Trigger.FIRST_TABLE)


def _rate(hits: float, scored: int) -> float | None:
    return float(hits) / int(scored) if scored else None


def _refused_entry(result: RefreshResult) -> dict[str, Any]:
    """Describe an order that was not published: what kept it from that, in words."""
    failed = [f"{verdict.gate}: {verdict.sentence}" for verdict in result.gates if not verdict.is_passed]
    return {
        "window_end": iso_utc(result.window_end_ms),
        "order_id": result.order_id,
        "outcome": result.outcome,
        "why": result.problem or "; ".join(failed),
        "candidate": result.candidate,
    }


def _report_entry(report: DriftReport) -> dict[str, Any]:
    return {
        "window_end": iso_utc(report.window_end_ms),
        "jaccard_mean": report.jaccard_mean,
        "jaccard_variance": report.jaccard_variance,
        "jaccard_matched_mean": report.jaccard_matched_mean,
        "null_mean": report.null_mean,
        "drift_mean": report.drift_mean,
        "drift_traffic_mean": report.drift_traffic_mean,
        "pairs": report.pairs,
        "flagged_pairs": report.flagged_pairs,
        "table_z": report.table_z,
        "table_p": report.table_p,
        "alarmed": report.alarmed,
        "front": None if report.front is None else _front_entry(report.front),
        "course": None if report.course is None else msgspec.to_builtins(report.course),
    }


def _front_entry(front: FrontDrift) -> dict[str, Any]:
    """Describe the newest pane, without the list of its pairs."""
    return {
        "pairs": front.pairs,
        "flagged_pairs": front.flagged_pairs,
        "table_z": front.table_z,
        "table_p": front.table_p,
        "alarmed": front.alarmed,
        "is_repeated": front.is_repeated,
    }


def _pane_entry(record: PaneRecord, worker: StreamWorker) -> dict[str, Any]:
    figures = worker.sequences.stats.of_pane(record.pane)
    result, decision = record.result, record.decision
    order = decision.order if decision is not None else None
    reasons = [str(row.reason) for row in order.rows] if order is not None else []
    return {
        "pane_end": iso_utc(record.window_end_ms),
        "transitions": int(figures[TRANSITIONS]),
        "scored": int(figures[SCORED]),
        "hits_next": int(figures[HITS_NEXT]),
        "hits_sequence": int(figures[HITS_SEQUENCE]),
        "hit_bits": float(figures[HIT_MICROBITS]) / 1e6,
        "answered": int(figures[ANSWERED]),
        "trigger": str(result.trigger) if result is not None and order is not None else None,
        "reasons": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        "outcome": result.outcome if result is not None else None,
        "llm_calls": result.llm_calls if result is not None else 0,
        "rows_changed": result.rows_changed if result is not None else 0,
        "table_version": record.table_version,
        "flag": str(decision.flag.reason) if decision is not None and decision.flag else None,
        "explanation": decision.explanation if decision is not None else None,
    }
