"""Alerts answered between two panes: on the newest counts, once, and so that the next pane goes on from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from monitoring.pane_metrics import PaneMetrics
from monitoring.refresher_metrics import RefresherMetrics
from refresh.policies import PolicyOptions
from refresh.policies.by_hand import open_by_alert
from refresh.table_store import TableStore
from stream.alert_book import AlertBook
from stream.checkpoint import Checkpoint, Marks, Progress
from stream.database import Database
from stream.ledger import DECISIONS, RECORDS
from stream.newest_counts import newest_counts
from stream.reorder import END_OF_TIME_MS
from stream.shard_store import ShardStore, join_run
from stream.shared_codes import SharedCodes
from tests.tidegate.test_answering import N_CLUSTERS, PANE_MS, Points, Stop, World
from tidegate.cli.alert_answering import AlertController, AlertRefresher
from tidegate.cli.alert_assembly import alert_planning_of
from tidegate.cli.alert_planning import AlertPlanning, decision_of, result_of, with_alert
from tidegate.cli.answering import Controller, RefreshRole, is_over, record_of
from tidegate.cli.evaluating import Evaluator
from tidegate.cli.observing import PaneWatch
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.cli.replaying import Outcome, Replaying
from tidegate.cli.scoring import Scoring
from tidegate.cli.verdicts import StoreVerdicts
from tidegate.clock import ManualClock
from tidegate.config import load_settings
from tidegate.contracts import AlertEpisode, AlertStatus, OrderPlaced, Trigger
from tidegate.counts import BucketedCounts, pack_transitions
from tidegate.errors import ConfigError, EngineUnavailableError
from tidegate.group_config import GroupSettings

OPEN_PANE, N_OPEN = 3, 6_000
FLAGS = {"pane": "1h", "window": "2h", "engine": "frequency", "min_support": 1, "permutations": 20}
Roles = tuple[Evaluator, Controller, RefreshRole]


class FragileBook(AlertBook):
    """A book whose process may die right after it has written."""

    points: Points

    def put_decision(self, number: int, pane: int, body: bytes, newest: BucketedCounts) -> bool:
        stands = super().put_decision(number, pane, body, newest)
        self.points.pass_by()
        return stands

    def put_result(self, number: int, body: bytes, now_ms: int) -> bool:
        stands = super().put_result(number, body, now_ms)
        self.points.pass_by()
        return stands


def counts_of(pane: int, n: int) -> BucketedCounts:
    """Transitions that turn round in the pane that is open.

    A cluster is come to from its neighbour, mostly, and from the one before that: these pairs need rows of their own.
    """
    steps = (1, 2) if pane < OPEN_PANE else (2, 1)
    c1 = np.repeat(np.arange(N_CLUSTERS), 4)
    bucket = np.tile(np.arange(4), N_CLUSTERS)
    parts = []
    for by, step, weight in ((1, steps[0], 3), (2, steps[1], 1)):
        c2 = (c1 + by) % N_CLUSTERS
        keys = np.sort(pack_transitions(c1, c2, (c2 + step) % N_CLUSTERS, bucket))
        parts.append(BucketedCounts(keys, np.full(keys.shape[0], weight * n, np.int64)))
    return BucketedCounts.merge(parts)


@dataclass
class OpenWorld(World):
    """A run whose fourth pane is open, and has drifted, until it is told to end."""

    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database = Database(self.home / "runs.db")
        self.clock = ManualClock()
        join_run(self.database, "run", "topic", "{}", 1)
        SharedCodes(self.database, "run").of_names([f"c{n}" for n in range(N_CLUSTERS)])
        half_ms = OPEN_PANE * PANE_MS + PANE_MS // 2
        self.shard = ShardStore(self.database, "run", 0)
        self.shard.commit(
            Checkpoint(
                Progress(),
                marks=Marks(0, half_ms, half_ms, half_ms),
                first_seen=dict.fromkeys(range(N_CLUSTERS), 0),
                counts={pane: counts_of(pane, 25 if pane < OPEN_PANE else N_OPEN) for pane in range(OPEN_PANE + 1)},
                stats={pane: np.full(7, 10, np.int64) for pane in range(OPEN_PANE + 1)},
            )
        )

    def end(self) -> None:
        """Count the rest of the open pane, and the next one."""
        last_ms = (OPEN_PANE + 2) * PANE_MS - 1
        self.shard.commit(
            Checkpoint(
                Progress(),
                marks=Marks(0, last_ms, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True),
                counts={pane: counts_of(pane, 50) for pane in (OPEN_PANE, OPEN_PANE + 1)},
                stats={pane: np.full(7, 20, np.int64) for pane in (OPEN_PANE, OPEN_PANE + 1)},
            )
        )

    def roles(self, **flags: Any) -> Roles:
        evaluator, controller, refresher = super().roles(**(self.settings | flags))
        planning = self.planning(controller, **flags)
        book = FragileBook(self.database, "run")
        book.points = self.points
        planning = replace(planning, book=book)
        alerts = AlertController(planning, self.clock, self.points.announce)
        carried = AlertRefresher(planning, refresher.refreshing, self.clock, self.points.announce)
        return evaluator, replace(controller, alerts=alerts), replace(refresher, alerts=carried)

    def planning(self, controller: Controller, **flags: Any) -> AlertPlanning:
        given = {"source": "kafka://h:1/t", **FLAGS, **self.flags, **self.settings, **flags}
        return alert_planning_of(load_settings(given, None, GroupSettings), controller.deciding)

    def advance_while_it_goes(self) -> Roles:
        """Answer all that can be answered now; roles that die are started anew."""
        roles = self.roles()
        while True:
            try:
                if not sum(role.advance() for role in roles):
                    return roles
            except Stop:
                roles = self.roles()

    @property
    def book(self) -> AlertBook:
        return AlertBook(self.database, "run")

    def alert(self, name: str = "drift") -> None:
        episode = AlertEpisode(group_key="g", fingerprint=name, starts_at="2026-01-01T00:00:00Z", alert=name)
        self.book.receive([episode], now_ms=self.clock.now_ms(), cooldown_ms=0)

    @property
    def tables(self) -> TableStore:
        return TableStore(self.home / "tables", self.clock)


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[Callable[..., OpenWorld]]:
    worlds: list[OpenWorld] = []

    def make(**parts: Any) -> OpenWorld:
        worlds.append(OpenWorld(tmp_path / f"{len(worlds)}", **parts))
        return worlds[-1]

    yield make
    for world in worlds:
        world.database.close()


@pytest.fixture
def world(new_world: Callable[..., OpenWorld]) -> OpenWorld:
    return new_world()


def answers_of(table: Any) -> list[int]:
    return [int(each) for each in table.clusters[:, 0]]


def test_an_alert_buys_the_rows_that_pay_on_the_counts_of_the_open_pane(world: OpenWorld) -> None:
    world.advance_while_it_goes()
    before = world.tables.current()
    assert answers_of(world.tables.load(before)) == [(c1 + 4) % N_CLUSTERS for c1 in range(N_CLUSTERS)]
    world.alert("TidegateHitRateFallsFast")
    world.advance_while_it_goes()
    (request,) = world.book.requests()
    decision, result = decision_of(request), result_of(request)
    assert (request.status, request.pane, decision.pane) == (AlertStatus.ANSWERED, OPEN_PANE - 1, OPEN_PANE - 1)
    ordered = decision.record.decision
    assert ordered is not None
    assert ordered.order is not None
    assert (ordered.order.trigger, ordered.order.order_id) == (Trigger.ALERT, f"run-{OPEN_PANE - 1}-alert-1")
    assert ordered.inputs["open_transitions"] == N_OPEN * 4 * 4 * N_CLUSTERS
    assert ordered.explanation.startswith("asked for by the alert TidegateHitRateFallsFast: rows taken: ")
    assert ordered.policy == "adaptive by alert"
    assert (result.outcome, result.trigger, result.llm_calls) == ("completed", Trigger.ALERT, N_CLUSTERS)
    assert result.table_version == world.tables.current() != before
    assert answers_of(world.tables.load()) == [(c1 + 3) % N_CLUSTERS for c1 in range(N_CLUSTERS)]
    assert world.tables.history()[-1].why == Trigger.ALERT


def test_the_next_pane_goes_on_from_what_an_alert_has_brought_about(world: OpenWorld) -> None:
    world.advance_while_it_goes()
    world.alert()
    roles = world.advance_while_it_goes()
    version = world.tables.current()
    amended = record_of(roles[0].ledger, OPEN_PANE - 1)
    assert amended is not None
    assert amended.policy_state is not None
    assert (amended.table_version, amended.policy_state.calls[-1]) == (version, (OPEN_PANE - 1, N_CLUSTERS))
    world.end()
    world.advance_while_it_goes()
    assert is_over(world.reader())
    record = decode_record(world.reader().get(RECORDS, OPEN_PANE) or b"")
    assert record.decision is not None
    assert record.decision.inputs["table_version"] == version
    assert record.policy_state is not None
    assert (OPEN_PANE - 1, N_CLUSTERS) in record.policy_state.calls


def test_decisions_on_alerts_and_after_them_are_made_again_the_same(world: OpenWorld) -> None:
    world.advance_while_it_goes()
    world.alert("one")
    world.alert("two")
    world.advance_while_it_goes()
    world.end()
    _, controller, _ = world.advance_while_it_goes()
    planning = world.planning(controller)
    replays = list(Replaying(world.reader(), controller.deciding, planning).replay())
    assert [replay.outcome for replay in replays] == [Outcome.SAME] * len(replays)
    of_alerts = [replay.detail for replay in replays if "asked for by the alert" in replay.detail]
    assert [detail.split(":")[0][-3:] for detail in of_alerts] == ["one", "two"]
    assert len(replays) == len(of_alerts) + 3  # the first window's pane decides nothing, nor does the last
    with world.database.writing() as connection:
        connection.exec_driver_sql("UPDATE alert_requests SET keys = NULL, counts = NULL WHERE number = 2")
    outcomes = [each.outcome for each in Replaying(world.reader(), controller.deciding, planning).replay()]
    assert outcomes.count(Outcome.IMPOSSIBLE) == 1
    otherwise = world.planning(controller, price=0.9, horizon_windows=0.1)
    outcomes = [each.outcome for each in Replaying(world.reader(), controller.deciding, otherwise).replay()]
    assert outcomes.count(Outcome.DIFFERENT) == 1


def test_a_role_that_dies_at_any_point_loses_and_doubles_no_refresh(new_world: Callable[..., OpenWorld]) -> None:
    def lived_through(points: Points) -> tuple[OpenWorld, list[Any]]:
        world = new_world(points=Points())
        world.advance_while_it_goes()
        world.points = points
        world.alert("one")
        world.alert("two")
        world.advance_while_it_goes()
        world.end()
        world.advance_while_it_goes()
        requests = [
            (each.number, each.status, each.pane, each.decision, _timeless(result_of(each)))
            for each in world.book.requests()
        ]
        return world, [*requests, world.outcome(), len(world.tables.numbers())]

    undisturbed, expected = lived_through(Points())
    assert undisturbed.points.n > 8
    for fatal in range(4):  # the first alert: decided, announced, carried out, announced; the rest is as ever
        world, found = lived_through(Points(fatal))
        assert found == expected, fatal
        assert is_over(world.reader())


def _timeless(result: Any) -> Any:
    return msgspec.structs.replace(result, duration_seconds=0.0)


def test_an_alert_waits_for_the_pane_that_is_being_answered_and_the_next_pane_for_it(world: OpenWorld) -> None:
    evaluator, controller, refresher = world.roles()
    while evaluator.advance() or controller.advance():
        pass  # the first table's order is open
    world.alert()
    assert not controller.advance()
    assert world.book.requests()[0].status is AlertStatus.OPEN
    while world.book.requests()[0].status is AlertStatus.OPEN:
        assert evaluator.advance() or controller.advance() or refresher.advance()
    assert world.book.requests()[0].status is AlertStatus.ORDERED
    metrics = PaneMetrics(CollectorRegistry(), world.clock)
    watch = PaneWatch(metrics, evaluator.ledger, PANE_MS)
    watch.of_controller()
    assert metrics.registry.get_sample_value("tidegate_orders_open") == 1
    world.end()
    while evaluator.advance():
        pass
    assert not controller.advance()
    assert world.reader().get(DECISIONS, OPEN_PANE) is None
    assert refresher.advance()
    watch.of_controller()
    assert metrics.registry.get_sample_value("tidegate_orders_open") == 0
    assert controller.advance()
    assert world.reader().get(DECISIONS, OPEN_PANE) is not None


def test_a_refresher_tells_of_orders_of_panes_and_of_alerts_alike(world: OpenWorld) -> None:
    metrics = RefresherMetrics(CollectorRegistry(), world.clock)
    count = partial(metrics.registry.get_sample_value, "tidegate_orders_carried_out_total")
    evaluator, controller, refresher = world.roles()
    refreshing = replace(refresher.refreshing, in_hand=metrics.order)
    assert refresher.alerts is not None
    alerts = replace(refresher.alerts, refreshing=refreshing)
    refresher = replace(refresher, refreshing=refreshing, alerts=alerts)
    while evaluator.advance() or controller.advance() or refresher.advance():
        pass
    of_panes = count()
    assert of_panes
    world.alert()
    while controller.advance() or refresher.advance():
        pass
    assert count() == of_panes + 1
    found = metrics.registry.get_sample_value
    assert found("tidegate_refresh_running") == 0
    assert found("tidegate_refresh_rows", {"state": "answered"}) == N_CLUSTERS


def test_an_alert_before_the_first_table_needs_no_order(world: OpenWorld) -> None:
    world.alert()
    _, controller, _ = world.roles()
    assert controller.advance()
    assert world.book.requests()[0].status is AlertStatus.UNNEEDED


def test_where_nothing_pays_the_order_has_no_rows_and_is_recorded(world: OpenWorld) -> None:
    world.advance_while_it_goes()
    world.alert("one")
    world.advance_while_it_goes()
    version = world.tables.current()
    world.alert("two")
    world.advance_while_it_goes()
    second = world.book.requests()[1]
    result = result_of(second)
    assert (result.outcome, result.llm_calls, result.table_version) == ("completed", 0, version)
    decision = decision_of(second).record.decision
    assert decision is not None
    assert decision.order is not None
    assert decision.order.rows == ()
    assert "no row pays" in decision.explanation


def test_the_calls_of_a_day_are_counted_with_those_of_alerts(new_world: Callable[..., OpenWorld]) -> None:
    world = new_world(settings={"max_calls_per_day": N_CLUSTERS - 2})
    world.advance_while_it_goes()
    world.alert("one")
    world.alert("two")
    world.advance_while_it_goes()
    first, second = (result_of(each) for each in world.book.requests())
    assert (first.llm_calls, second.llm_calls) == (N_CLUSTERS - 2, 0)
    assert decision_of(world.book.requests()[1]).record.decision.inputs["rows_over_budget"] == 2  # type: ignore[union-attr]


def test_an_order_is_placed_again_when_reminded(world: OpenWorld) -> None:
    world.advance_while_it_goes()
    world.alert()
    _, controller, refresher = world.roles()
    assert controller.advance()
    placed = [body for kind, body in world.points.announced if kind == "orders"]
    order = msgspec.json.decode(placed[-1], type=OrderPlaced)
    assert (order.trigger, order.n_rows, order.pane) == (Trigger.ALERT, N_CLUSTERS, OPEN_PANE - 1)
    controller.remind()
    assert world.points.announced[-1] == ("orders", placed[-1])
    assert refresher.advance()
    n = len(world.points.announced)
    controller.remind()
    assert len(world.points.announced) == n


def test_an_order_that_cannot_be_planned_again_is_refused(world: OpenWorld) -> None:
    world.advance_while_it_goes()
    world.alert()
    _, controller, refresher = world.roles()
    assert controller.advance()
    _, _, otherwise = world.roles(price=50.0, horizon_windows=0.1)
    with pytest.raises(ConfigError, match="refresher: the order of alert 1 cannot be planned again"):
        otherwise.advance()
    assert refresher.advance()


def test_an_order_that_fails_is_recorded_and_the_table_goes_on_serving(world: OpenWorld) -> None:
    class Away:
        """A keeper whose engine is away."""

        name, fingerprint, model = "away", "away-1", None

        def engine(self, *_: Any) -> Any:
            raise EngineUnavailableError("the server does not answer", "Start it", place="--engine")

    world.advance_while_it_goes()
    before = world.tables.current()
    world.alert()
    _, controller, refresher = world.roles()
    assert controller.advance()
    assert refresher.alerts is not None
    refreshing = replace(refresher.refreshing, engines=Away(), outlives_failures=True)
    assert replace(refresher.alerts, refreshing=refreshing).advance()
    result = result_of(world.book.requests()[0])
    assert (result.outcome, result.table_version, world.tables.current()) == ("failed", before, before)
    assert "does not answer" in (result.problem or "")
    record = PaneRecord(pane=2, window_end_ms=0, table_version=before)
    assert with_alert(record, result) == record


def test_workers_score_with_what_an_alert_has_put_in_the_tables_place(world: OpenWorld) -> None:
    roles = world.advance_while_it_goes()
    deciding = roles[1].deciding
    verdicts = StoreVerdicts(roles[0].ledger, Scoring(deciding.measuring, deciding.tables), world.clock)
    before = verdicts.after(OPEN_PANE - 1)
    assert before is not None
    assert verdicts.after(OPEN_PANE - 1) is before
    world.alert()
    world.advance_while_it_goes()
    world.clock.advance_ms(1_000)
    verdicts.stream_ms()
    after = verdicts.after(OPEN_PANE - 1)
    assert after is not None
    assert after.answers.tolist() != before.answers.tolist()
    world.clock.advance_ms(1_000)
    verdicts.stream_ms()
    assert verdicts.after(OPEN_PANE - 1) is after


@pytest.mark.parametrize(
    ("policy", "planner"),
    [("adaptive:0.1", "adaptive:0.1"), ("every:2+own", "always+own"), ("never", "always"), ("cusum", "always")],
)
def test_an_alert_makes_the_refresh_of_any_policy_due(policy: str, planner: str) -> None:
    by_alert = open_by_alert(policy, PANE_MS, PolicyOptions(), number=4, alert="drift")
    assert by_alert.name == f"{planner} by alert"


def test_counts_of_clusters_without_an_id_are_left_out(world: OpenWorld) -> None:
    codes = SharedCodes(world.database, "run").of_names(["c0", "c1", "new"])
    key = pack_transitions(*np.array([[codes[0]], [codes[1]], [codes[2]], [0]], np.int64))
    marks = Marks(0, OPEN_PANE * PANE_MS, OPEN_PANE * PANE_MS, OPEN_PANE * PANE_MS)
    world.advance_while_it_goes()
    before = newest_counts(world.database, "run", OPEN_PANE - 1)
    world.shard.commit(Checkpoint(Progress(), marks=marks, counts={OPEN_PANE: BucketedCounts(key, np.array([9]))}))
    assert newest_counts(world.database, "run", OPEN_PANE - 1).total == before.total == N_OPEN * 4 * 4 * N_CLUSTERS
