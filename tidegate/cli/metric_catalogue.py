"""Every metric that a role can export, with every series it can have: what documentation and tests go by."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric

from monitoring.alert_metrics import AlertMetrics
from monitoring.metrics import AnsweringMetrics, Metrics
from monitoring.pane_metrics import STAGES, PaneMetrics
from monitoring.refresh_metrics import FAULTS, OUTCOMES
from monitoring.refresher_metrics import RefresherMetrics
from monitoring.role_metrics import RoleMetrics, Vitals
from monitoring.service_metrics import ServiceMetrics
from monitoring.worker_metrics import WorkerMetrics, WorkerState
from refresh.serving.tally import Tally
from stream.events import Outcome
from tidegate.contracts import (
    Decision,
    DriftCourse,
    DriftReport,
    FineTuneStatus,
    FrontDrift,
    RefreshResult,
    Trigger,
)

CATALOGUED = ("run", "worker", "evaluator", "control", "refresher", "serve", "alerts")
"""Roles, in the order of the way of an event; ``run`` is all of them in one process."""


def registry_of(role: str) -> CollectorRegistry:
    """Make a registry in which every metric of `role` has every series that it can have.

    Examples
    --------
    >>> registry_of("worker").get_sample_value("tidegate_partitions_owned")
    1
    """
    registry = CollectorRegistry()
    RoleMetrics(registry, role, "", lambda: Vitals(0, 0, 0, 0.0))
    outcomes = {str(outcome): 1 for outcome in Outcome}
    if role == "run":
        metrics = Metrics(registry)
        metrics.observe_batch(outcomes)
        metrics.observe_watermark(0)
        _tell(metrics)
        metrics.observe_panes(dict.fromkeys(STAGES, 1), 0, 1)
    elif role == "worker":
        state = WorkerState(outcomes=outcomes, partitions=1, lag_records=0, lag_seconds=0.0, watermark_ms=0)
        WorkerMetrics(registry, lambda: state)
    elif role == "evaluator":
        panes = PaneMetrics(registry)
        panes.show_lengths(1, 1)
        panes.observe_panes({"counted": 2, "closed": 1, "reported": 0}, 0, 1)
    elif role == "control":
        answering = AnsweringMetrics(registry)
        _tell(answering)
        answering.observe_panes({"reported": 2, "decided": 1, "recorded": 0}, 0, 1)
    elif role == "refresher":
        refresher = RefresherMetrics(registry)
        with refresher.order():
            pass
        refresher.age.set(0.0)
    if role in ("run", "serve"):
        ServiceMetrics(registry, Tally().figures)
    if role in ("run", "alerts"):
        AlertMetrics(registry)
    return registry


def families() -> dict[str, tuple[Metric, tuple[str, ...]]]:
    """Give every metric by its exposed name, with the roles that export it."""
    found: dict[str, tuple[Metric, tuple[str, ...]]] = {}
    for role in CATALOGUED:
        for family in registry_of(role).collect():
            if not family.samples:
                continue  # of a group of which the role tells a part
            name = exposed_name(family)
            fullest, roles = found.get(name, (family, ()))
            if len(family.samples) > len(fullest.samples):
                fullest = family
            found[name] = fullest, (*roles, role)
    return found


def exposed_name(family: Metric) -> str:
    """Name under which a family's samples are asked for; those of histograms have suffixes."""
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def series_of(roles: Iterable[str]) -> set[str]:
    """Names of all series of these roles, suffixes included.

    Examples
    --------
    >>> "tidegate_commit_duration_seconds_bucket" in series_of(["worker"])
    True
    """
    return {sample.name for role in roles for family in registry_of(role).collect() for sample in family.samples}


def _tell(metrics: AnsweringMetrics) -> None:
    metrics.show_lengths(1, 1)
    metrics.show_objective(0.1)
    metrics.observe_report(_REPORT)
    metrics.observe_decision(_DECISION)
    for outcome in OUTCOMES:
        metrics.observe_result(_RESULT if outcome == "completed" else _with_outcome(outcome))
    metrics.observe_table(1, rows=1, backoff_rows=1, published_ms=0)
    metrics.observe_model("", "")
    metrics.observe_weights(0, 0)
    metrics.observe_fine_tunes({status: [0] for status in FineTuneStatus})
    metrics.observe_order("")


def _with_outcome(outcome: str) -> RefreshResult:
    return RefreshResult(
        order_id="", window_end_ms=0, trigger=Trigger.POLICY, outcome=outcome, table_version=1, llm_calls=0, reused=0,
        rows_changed=0, rows_invalid=0, rows_retired=0, faults=dict.fromkeys(FAULTS, 0),
    )  # fmt: skip


_RESULT = _with_outcome("completed")
_DECISION = Decision(run_id="", window_end_ms=0, policy="", inputs={}, order=None, flag=None, explanation="")
_REPORT = DriftReport(
    run_id="", window_start_ms=0, window_end_ms=0, pane_ms=1, min_support=1, transitions=0, pairs=0, flagged_pairs=0,
    jaccard_mean=0.0, jaccard_variance=0.0, null_mean=0.0, drift_mean=0.0, drift_traffic_mean=0.0, table_z=0.0,
    alarmed=True, hit_rate_next=0.0, hit_rate_sequence=0.0, coverage=0.0, table_p=0.5,
    front=FrontDrift(transitions=0, pairs=0, table_z=0.0, table_p=0.5, alarmed=False),
    course=DriftCourse(
        detector="", score=0.0, statistic=0.0, threshold=0.0, is_signalled=False, windows_since_signal=None,
        false_alarm_windows=0.0,
    ),
)  # fmt: skip
