"""What the policies buy, why, and what they leave alone."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from refresh.evidence import Evidence
from refresh.plan import Plan, View, reason_counts, within_codebook
from refresh.policy import AdaptivePolicy, CalendarPolicy, PolicyOptions, open_policy
from refresh.table import TransitionTable
from refresh.table_rows import BackoffRows, PairRows
from tests.refresh.test_evidence import N_CLUSTERS, counts_of, seeds
from tidegate.contracts import DriftReport, PairDrift, Reason, Trigger
from tidegate.errors import RequestError

DAY_MS = 86_400_000
NAMES = tuple(f"interest-{i}" for i in range(N_CLUSTERS))
Log = dict[tuple[int, int, int], int]

# (0, 1) goes to 2 although everyone else who comes to 1 goes on to 3: a row of its own pays.
LOG: Log = {(0, 1, 2): 60, (0, 1, 3): 5, (4, 1, 3): 60, (5, 1, 3): 60, (6, 1, 3): 60}
OWN = 0 << 16 | 1


def table_with(pair: int, cluster: int, *, refreshed_ms: int = 0) -> TransitionTable:
    rows = PairRows(
        pairs=np.array([pair]),
        clusters=np.array([[cluster, -1]], np.int32),
        probabilities=np.array([[0.5, 0.0]], np.float32),
        row_keys=np.ones((1, 2), np.uint64),
        contexts=np.array([cluster], np.int32),
        refreshed_ms=np.array([refreshed_ms]),
    )
    return TransitionTable.empty(NAMES, top_n=2).with_changes(rows)


def view(log: Log, table: TransitionTable | None, *, report: DriftReport | None = None, since: int = 5) -> View:
    evidence = Evidence(counts_of(log), seeds())
    return View(
        run_id="run",
        pane=9,
        pane_ms=DAY_MS,
        panes_since_first_table=since,
        evidence=evidence,
        report=report,
        table=table,
    )


def report(*, alarmed: bool, flagged: tuple[tuple[int, int], ...]) -> DriftReport:
    return DriftReport(
        run_id="run",
        window_start_ms=0,
        window_end_ms=10 * DAY_MS,
        pane_ms=DAY_MS,
        min_support=20,
        transitions=100,
        pairs=5,
        flagged_pairs=len(flagged),
        jaccard_mean=0.4,
        jaccard_variance=0.1,
        null_mean=0.5,
        drift_mean=0.2,
        drift_traffic_mean=0.2,
        table_z=8.0 if alarmed else 0.0,
        alarmed=alarmed,
        flagged=tuple(
            PairDrift(
                c1=c1, c2=c2, n_window=65, n_reference=65, jaccard=0.1, null=0.5, drift=0.8, p_value=1e-4, flagged=True
            )
            for c1, c2 in flagged
        ),
    )


def reasons(plan: Plan) -> list[Reason]:
    return [row.reason for row in plan.order.rows] if plan.order else []


def test_the_first_table_buys_only_rows_that_beat_their_free_backoff():
    plan = AdaptivePolicy().plan(view(LOG, None))
    assert plan.pairs.tolist() == [OWN]
    assert plan.retrieved.clusters[0, 0] == 2
    assert reasons(plan) == [Reason.FIRST_TABLE]
    assert plan.order is not None
    assert plan.order.trigger is Trigger.FIRST_TABLE


def test_a_pair_without_a_row_is_bought_at_first_sight():
    assert reasons(AdaptivePolicy().plan(view(LOG, TransitionTable.empty(NAMES, top_n=2)))) == [Reason.FIRST_SIGHT]


def test_a_row_that_serves_the_fresh_answer_is_left_alone():
    plan = AdaptivePolicy().plan(view(LOG, table_with(OWN, 2)))
    assert plan.order is None
    assert plan.explanation == "no row pays: nothing to refresh"


def test_a_row_whose_answer_went_stale_is_bought_for_evidence():
    assert reasons(AdaptivePolicy().plan(view(LOG, table_with(OWN, 5)))) == [Reason.EVIDENCE]


def test_drift_is_a_reason_only_for_flagged_pairs_of_a_window_that_drifts_itself():
    stale = table_with(OWN, 5)
    policy = AdaptivePolicy()
    assert reasons(policy.plan(view(LOG, stale, report=report(alarmed=True, flagged=((0, 1),))))) == [Reason.DRIFT]
    for not_proven in (report(alarmed=False, flagged=((0, 1),)), report(alarmed=True, flagged=((4, 1),))):
        assert reasons(policy.plan(view(LOG, stale, report=not_proven))) == [Reason.EVIDENCE]


def test_a_row_cools_down_unless_its_drift_is_proven():
    stale = table_with(OWN, 5, refreshed_ms=9 * DAY_MS)
    policy = AdaptivePolicy(PolicyOptions(cooldown_panes=2))
    cooling = policy.plan(view(LOG, stale))
    assert cooling.pairs.size == 0
    assert cooling.inputs["rows_cooling_down"] == 1
    assert reasons(policy.plan(view(LOG, stale, report=report(alarmed=True, flagged=((0, 1),))))) == [Reason.DRIFT]
    assert reasons(AdaptivePolicy(PolicyOptions(cooldown_panes=1)).plan(view(LOG, stale))) == [Reason.EVIDENCE]


def test_no_row_is_bought_above_its_gain():
    gain = AdaptivePolicy(PolicyOptions(price=0.0)).plan(view(LOG, None)).inputs["gain_hits"]
    assert isinstance(gain, float)
    assert AdaptivePolicy(PolicyOptions(price=gain * 1.01)).plan(view(LOG, None)).pairs.size == 0
    assert AdaptivePolicy(PolicyOptions(price=gain * 0.99)).plan(view(LOG, None)).pairs.size == 1


def test_a_row_that_its_backoff_serves_better_is_dropped_without_a_call():
    plan = AdaptivePolicy().plan(view({(4, 1, 3): 60, (5, 1, 3): 60}, table_with(4 << 16 | 1, 2)))
    assert plan.order is not None
    assert plan.order.rows == ()
    assert plan.order.retired == ((4, 1),)


def test_the_backoff_is_kept_fresh_at_every_pane():
    plan = AdaptivePolicy(top_n=2).plan(view(LOG, table_with(OWN, 2)))
    assert plan.backoff is not None
    assert plan.backoff.clusters[1].tolist() == [3, 2]


INFERS = PolicyOptions(infers_backoff=True)


def backoff_orders(plan: Plan) -> dict[int, Reason]:
    return {row.c2: row.reason for row in plan.order.rows if row.c1 == -1} if plan.order else {}


def test_rows_of_c2_can_be_bought_like_any_row():
    plan = AdaptivePolicy(INFERS).plan(view(LOG, None))
    assert plan.backoff is None
    assert backoff_orders(plan) == {1: Reason.FIRST_TABLE}
    assert plan.backoff_c2.tolist() == [1]
    assert plan.backoff_retrieved.clusters[0, 0] == 3
    empty = TransitionTable.empty(NAMES, top_n=2)
    assert backoff_orders(AdaptivePolicy(INFERS).plan(view(LOG, empty))) == {1: Reason.FIRST_SIGHT}


def table_with_backoff(cluster: int) -> TransitionTable:
    rows = BackoffRows(
        np.array([1], np.int32),
        np.array([[cluster, -1]], np.int32),
        np.array([[0.5, 0.0]], np.float32),
        np.ones((1, 2), np.uint64),
    )
    return TransitionTable.empty(NAMES, top_n=2).with_changes(backoff=rows)


def test_a_row_of_c2_is_bought_again_only_when_it_went_stale_and_pays():
    assert backoff_orders(AdaptivePolicy(INFERS).plan(view(LOG, table_with_backoff(3)))) == {}
    assert backoff_orders(AdaptivePolicy(INFERS).plan(view(LOG, table_with_backoff(5)))) == {1: Reason.EVIDENCE}
    dear = PolicyOptions(infers_backoff=True, price=1e6)
    assert backoff_orders(AdaptivePolicy(dear).plan(view(LOG, table_with_backoff(5)))) == {}


def test_a_row_of_c2_is_weighed_by_the_pairs_that_it_answers():
    """A pair with a row of its own takes its traffic away from its backoff."""
    alone = {(4, 1, 3): 60}
    own_row = table_with(4 << 16 | 1, 3)
    assert backoff_orders(AdaptivePolicy(INFERS).plan(view(alone, own_row))) == {}
    assert backoff_orders(AdaptivePolicy(INFERS).plan(view(alone, TransitionTable.empty(NAMES, top_n=2)))) == {
        1: Reason.FIRST_SIGHT
    }


def test_the_same_view_gives_the_same_plan():
    plans = [AdaptivePolicy().plan(view(LOG, table_with(OWN, 5))) for _ in range(2)]
    assert msgspec.json.encode(plans[0].order) == msgspec.json.encode(plans[1].order)
    assert plans[0].inputs == plans[1].inputs


@pytest.mark.parametrize(("every", "due"), [(0, []), (1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3])])
def test_calendars_are_due_after_the_first_table(every: int, due: list[int]):
    policy = CalendarPolicy(every, name="calendar")
    served = table_with(OWN, 2)
    assert [since for since in range(1, 5) if policy.plan(view(LOG, served, since=since)).order] == due
    first = policy.plan(view(LOG, None, since=0))
    assert first.pairs.tolist() == sorted(a << 16 | b for a, b, _ in {(a, b, 0) for a, b, _ in LOG})


def test_calendars_ask_with_the_plain_top_one_and_touch_no_backoff():
    plan = CalendarPolicy(1, name="always").plan(view({**LOG, (7, 1, 5): 1}, table_with(OWN, 2)))
    assert plan.retrieved.clusters[-1, 0] == 5  # one sight is enough for the paper's retrieval
    assert plan.backoff is None
    assert plan.replaces_rows
    assert reason_counts(plan) == {"schedule": 5}


@pytest.mark.parametrize(
    ("text", "every"), [("never", 0), ("always", 1), ("every:3", 3), ("every:2d", 2), ("every:48h", 2)]
)
def test_policies_are_opened_by_name(text: str, every: int):
    policy = open_policy(text, DAY_MS, PolicyOptions())
    assert policy.name == text
    assert policy._every_panes == every  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["sometimes", "every", "every:0", "every:36h", "adaptive:yes", "never:2", "every:x"])
def test_policies_that_cannot_be_meant_are_refused_with_the_mend(text: str):
    with pytest.raises(RequestError, match="--policy"):
        open_policy(text, DAY_MS, PolicyOptions())


def test_rows_beyond_the_codebook_are_left_to_their_backoff():
    plan = AdaptivePolicy().plan(view({**LOG, (2, 7, 6): 60, (3, 7, 5): 60}, None))
    assert OWN in plan.pairs
    assert plan.pairs.size > 1
    cut = within_codebook(plan, capacity=7)
    assert cut.pairs.tolist() == [OWN]
    assert cut.order is not None
    assert [(row.c1, row.c2) for row in cut.order.rows] == [(0, 1)]
    assert cut.inputs["rows_beyond_codebook"] == plan.pairs.size - 1
    assert within_codebook(plan, capacity=8) is plan
