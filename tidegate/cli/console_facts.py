"""From records to what the console shows of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitoring.console.facts import AlertFacts, OrderFacts, PaneFacts
from stream.alert_book import AlertRequest
from stream.sequence_kernel import ANSWERED, HITS_NEXT, HITS_SEQUENCE, SCORED
from tidegate.cli.alert_planning import AlertDecision
from tidegate.cli.records import PaneRecord
from tidegate.contracts import DriftReport, RefreshOrder, RefreshResult


def facts_of(record: PaneRecord, stats: NDArray[np.int64]) -> PaneFacts:
    """Keep what lists need, without pairs and rows."""
    decision = record.decision
    facts = PaneFacts(
        pane=record.pane,
        end_ms=record.window_end_ms,
        scored=0,
        answered=0,
        hits_next=0,
        hits_sequence=0,
        report=None if record.report is None else _slim(record.report),
        explanation=None if decision is None else decision.explanation,
        order=None if decision is None or decision.order is None else order_facts(decision.order),
        flag=None if decision is None else decision.flag,
        result=record.result,
        table_version=record.table_version,
        weights=record.weights_version,
        weights_since_ms=record.weights_since_ms,
    )
    return with_stats(facts, stats)


def with_stats(facts: PaneFacts, stats: NDArray[np.int64]) -> PaneFacts:
    """Fill in what was scored, from the figures of the pane, int64[N_STATS]."""
    return replace(
        facts,
        scored=int(stats[SCORED]),
        answered=int(stats[ANSWERED]),
        hits_next=int(stats[HITS_NEXT]),
        hits_sequence=int(stats[HITS_SEQUENCE]),
    )


def _slim(report: DriftReport) -> DriftReport:
    front = None if report.front is None else msgspec.structs.replace(report.front, flagged=())
    return msgspec.structs.replace(report, flagged=(), front=front, by_c1=None, by_c2=None, backoff=None)


def alert_facts(request: AlertRequest) -> AlertFacts:
    """Tell what became of an alert's request."""
    decision = None if request.decision is None else msgspec.json.decode(request.decision, type=AlertDecision)
    decided = None if decision is None else decision.record.decision
    return AlertFacts(
        number=request.number,
        alert=request.episode.alert,
        received_ms=request.received_ms,
        status=str(request.status),
        pane=request.pane,
        end_ms=request.received_ms if decision is None else decision.record.window_end_ms,
        order=None if decided is None or decided.order is None else order_facts(decided.order),
        result=None if request.result is None else msgspec.json.decode(request.result, type=RefreshResult),
    )


def order_facts(order: RefreshOrder) -> OrderFacts:
    """Tell an order without its rows."""
    return OrderFacts(
        order_id=order.order_id,
        trigger=str(order.trigger),
        n_rows=len(order.rows),
        is_for_all_rows=order.all_rows,
        n_retired=len(order.retired),
        reasons=dict(Counter(str(row.reason) for row in order.rows)),
        gain_hits=sum(row.gain_hits for row in order.rows),
    )
