"""Evaluator, controller and refresher over one store: whatever breaks, the panes are answered the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import Table

from refresh.row_cache import RowCache
from refresh.table_store import TableStore
from stream.checkpoint import Checkpoint, Marks, Progress
from stream.closing import PaneCloser
from stream.database import Database
from stream.drift_board import TAKEN_FOR_SECONDS, DriftBoard
from stream.fine_tune_book import StoredFineTunes
from stream.ledger import DECISIONS, RECORDS, REPORTS, RESULTS, Ledger
from stream.reorder import END_OF_TIME_MS
from stream.schema import drift_parts
from stream.shard_store import ShardStore, join_run
from stream.shared_codes import SharedCodes
from tests.fine_tunes import flag
from tidegate.cli.answering import Controller, RefreshRole, is_over, next_unrecorded
from tidegate.cli.assembly import deciding_of
from tidegate.cli.deciding import Deciding
from tidegate.cli.engine_keeper import FrequencyKeeper
from tidegate.cli.evaluating import Evaluator
from tidegate.cli.measuring import Measuring
from tidegate.cli.records import PaneRecord, PaneReport, decode_record
from tidegate.cli.refreshing import Refreshing
from tidegate.cli.stream_settings import drift_options, sequence_options
from tidegate.clock import ManualClock
from tidegate.config import load_settings
from tidegate.contracts import FineTune, FineTuneStatus, OrderPlaced
from tidegate.counts import BucketedCounts, pack_transitions
from tidegate.errors import ConfigError
from tidegate.group_config import GroupSettings

N_PANES, N_CLUSTERS, PANE_MS = 5, 5, 3_600_000
_NUMBERS = count()


class Stop(BaseException):
    """The process dies here."""


@dataclass
class Points:
    """Points at which a process may die; it does at the chosen one. Whoever wants to looks on at each."""

    fatal: int = -1
    look: Callable[[], None] | None = None
    n: int = 0
    announced: list[tuple[str, bytes]] = field(default_factory=list)

    def pass_by(self) -> None:
        self.n += 1
        if self.look:
            self.look()
        if self.n - 1 == self.fatal:
            raise Stop

    def announce(self, kind: str, body: bytes) -> None:
        self.announced.append((kind, body))
        self.pass_by()


class FragileLedger(Ledger):
    """A ledger whose process may die right after it has written."""

    points: Points

    def put(self, table: Table, pane: int, body: bytes, flagged: FineTune | None = None) -> bool:
        stands = super().put(table, pane, body, flagged)
        self.points.pass_by()
        return stands


class FragileBoard(DriftBoard):
    """A board whose process may die right after it has taken a part on, left one or cleared them."""

    def __init__(self, database: Database, run_id: str, owner: str, points: Points) -> None:
        super().__init__(database, run_id, owner)
        self._points = points

    def take(self, pane: int, n_parts: int, now_ms: int) -> int | None:
        part = super().take(pane, n_parts, now_ms)
        self._points.pass_by()
        return part

    def put(self, pane: int, part: int, body: bytes) -> None:
        super().put(pane, part, body)
        self._points.pass_by()

    def clear(self, pane: int) -> None:
        super().clear(pane)
        self._points.pass_by()


@dataclass
class World:
    """One counted run, and the roles that answer it."""

    home: Path
    points: Points = field(default_factory=Points)
    flags: dict[str, Any] = field(default_factory=dict)
    records: list[PaneRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        is_counted = (self.home / "runs.db").exists()
        self.database = Database(self.home / "runs.db")
        self.clock = ManualClock()
        if not is_counted:
            self._count()

    def _count(self) -> None:
        join_run(self.database, "run", "topic", "{}", 1)
        SharedCodes(self.database, "run").of_names([f"c{n}" for n in range(N_CLUSTERS)])
        last_ms = N_PANES * PANE_MS - 1
        marks = Marks(0, last_ms, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True)
        ShardStore(self.database, "run", 0).commit(
            Checkpoint(
                Progress(),
                marks=marks,
                first_seen=dict.fromkeys(range(N_CLUSTERS), 0),
                counts={pane: _counts(pane) for pane in range(N_PANES)},
                stats={pane: np.full(7, 10, np.int64) for pane in range(N_PANES)},
            )
        )

    def roles(self, **flags: Any) -> tuple[Evaluator, Controller, RefreshRole]:
        given = {"pane": "1h", "window": "2h", "engine": "frequency", "min_support": 1, "permutations": 20}
        settings = load_settings({"source": "kafka://h:1/t", **given, **self.flags, **flags}, None, GroupSettings)
        ledger = FragileLedger(self.database, "run")
        ledger.points = self.points
        sequences = sequence_options(settings)
        measuring = Measuring(ledger, drift_options(settings), sequences.pane_ms, sequences.window_panes)
        tables = TableStore(self.home / "tables", self.clock)
        cache = RowCache(self.home / "rows", settings.top_n)
        deciding = deciding_of(settings, measuring, tables, sequences, cache)
        refreshing = Refreshing(measuring, FrequencyKeeper(), cache, tables, self.clock, settings.top_n, 100)
        closer = PaneCloser(self.database, "run", PANE_MS, 0)
        return (
            Evaluator(
                ledger,
                closer,
                measuring,
                FragileBoard(self.database, "run", f"evaluator {next(_NUMBERS)}", self.points),
                self.clock,
                self.points.announce,
                settings.drift_parts,
            ),
            Controller(ledger, deciding, self.points.announce, self.records.append),
            RefreshRole(ledger, deciding, refreshing, self.points.announce),
        )

    def advance_to_the_end(self) -> None:
        """Answer until nothing is left; roles that die are started anew."""
        roles = self.roles()
        while not is_over(roles[0].ledger):
            try:
                assert sum(role.advance() for role in roles)
            except Stop:
                roles = self.roles()
                self.clock.advance_ms(round(1_000 * TAKEN_FOR_SECONDS))  # what the dead had taken on is free again

    def disks_to_the_end(self, folder: Path) -> list[Path]:
        """Answer until nothing is left; returns what the disk held at each point: what a death there leaves behind."""
        disks: list[Path] = []
        self.points.look = lambda: disks.append(shutil.copytree(self.home, folder / str(len(disks))))
        self.advance_to_the_end()
        return disks

    def resume_to_the_end(self) -> None:
        """Answer the rest with new roles, once what the dead had taken on is free again."""
        self.clock.advance_ms(round(1_000 * TAKEN_FOR_SECONDS))
        self.advance_to_the_end()

    def reader(self) -> Ledger:
        return Ledger(self.database, "run")

    def outcome(self) -> dict[str, Any]:
        ledger = self.reader()
        return {
            table.name: [msgspec.json.decode(ledger.get(table, pane) or b"null") for pane in range(N_PANES)]
            for table in (REPORTS, DECISIONS, RESULTS, RECORDS)
        }


def _counts(pane: int) -> BucketedCounts:
    """Transitions that turn round in the middle of the run."""
    step = 1 if pane < 3 else 3
    c1 = np.repeat(np.arange(N_CLUSTERS), 4)
    bucket = np.tile(np.arange(4), N_CLUSTERS)
    keys = np.sort(pack_transitions(c1, (c1 + 1) % N_CLUSTERS, (c1 + 1 + step) % N_CLUSTERS, bucket))
    return BucketedCounts(keys, np.full(keys.shape[0], 25 + pane, np.int64))


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**parts: Any) -> World:
        worlds.append(World(**{"home": tmp_path / f"{len(worlds)}", **parts}))
        return worlds[-1]

    yield make
    for world in worlds:
        world.database.close()


def test_every_pane_is_reported_decided_and_recorded_and_nothing_is_left(new_world: Callable[..., World]) -> None:
    world = new_world()
    evaluator, controller, refresher = world.roles()
    assert (next_unrecorded(evaluator.ledger), controller.advance(), refresher.advance()) == (None, False, False)
    world.advance_to_the_end()
    assert [record.pane for record in world.records] == list(range(N_PANES))
    assert world.records[-1].table_version is not None
    kinds = [kind for kind, _ in world.points.announced]
    assert kinds.count("drift") == N_PANES
    assert kinds.count("orders") == kinds.count("results") >= 1
    assert not any(role.advance() for role in (evaluator, controller, refresher))


def test_a_role_that_dies_at_any_point_changes_nothing(new_world: Callable[..., World], tmp_path: Path) -> None:
    undisturbed = new_world()
    disks = undisturbed.disks_to_the_end(tmp_path / "disks")
    expected = undisturbed.outcome()
    assert undisturbed.points.n == len(disks) > 3 * N_PANES
    for point, disk in enumerate(disks):
        world = new_world(home=disk)
        assert (world.outcome() == expected) == (point == len(disks) - 1)
        world.resume_to_the_end()
        assert world.outcome() == expected, point


def test_evaluators_measure_a_window_in_parts_to_the_same_report(new_world: Callable[..., World]) -> None:
    alone = new_world()
    alone.advance_to_the_end()
    world = new_world(flags={"drift_parts": 3})
    evaluators = [world.roles()[0] for _ in range(2)]
    _, controller, refresher = world.roles()
    roles: list[Evaluator | Controller | RefreshRole] = [*evaluators, controller, refresher]
    while not is_over(controller.ledger):
        assert sum(role.advance() for role in roles)
    assert world.outcome() == alone.outcome()
    assert controller.ledger.n_rows(drift_parts) == 0


def test_an_evaluator_that_dies_among_the_parts_changes_nothing(
    new_world: Callable[..., World], tmp_path: Path
) -> None:
    undisturbed = new_world(flags={"drift_parts": 2})
    disks = undisturbed.disks_to_the_end(tmp_path / "disks")
    expected = undisturbed.outcome()
    for point, disk in enumerate(disks):
        world = new_world(home=disk, flags={"drift_parts": 2})
        world.resume_to_the_end()
        assert world.outcome() == expected, point


def test_evaluators_that_disagree_on_the_parts_are_refused_and_leave_nothing(new_world: Callable[..., World]) -> None:
    world = new_world()
    thirds, halves = world.roles(drift_parts=3)[0], world.roles(drift_parts=2)[0]
    while not world.reader().n_rows(drift_parts):
        assert thirds.advance()
    with pytest.raises(ConfigError, match=r"--drift-parts: the window was measured in 2 and in 3 parts, not in 2"):
        while halves.advance():
            pass
    assert world.reader().n_rows(drift_parts) == 0
    while halves.advance():
        pass
    assert len(world.reader().reports()) == N_PANES


def test_two_controllers_decide_a_pane_once(new_world: Callable[..., World]) -> None:
    world = new_world()
    evaluator, first, refresher = world.roles()
    _, second, _ = world.roles()
    decide, overtaken = first._decide, []

    def decide_late(reported: Any) -> None:
        assert second.advance()
        overtaken.append(reported.pane)
        decide(reported)

    while not is_over(evaluator.ledger):
        while evaluator.advance():
            pass
        pane = next_unrecorded(evaluator.ledger)
        assert pane is not None
        body = evaluator.ledger.get(REPORTS, pane)
        assert body is not None
        if evaluator.ledger.get(DECISIONS, pane) is None:
            decide_late(msgspec.json.decode(body, type=PaneReport))
        refresher.advance()
        first.advance()
    assert overtaken == list(range(N_PANES))
    orders = [body for kind, body in world.points.announced if kind == "orders"]
    assert len(orders) == len({msgspec.json.decode(body, type=OrderPlaced).pane for body in orders}) >= 1
    assert [record.pane for record in world.records] == overtaken


def _open_order(world: World) -> tuple[Evaluator, Controller, RefreshRole, int]:
    evaluator, controller, refresher = world.roles()
    while evaluator.advance():
        pass
    while controller.advance():
        pass
    pane = next_unrecorded(evaluator.ledger)
    assert pane is not None
    return evaluator, controller, refresher, pane


def test_an_open_order_is_placed_again_when_reminded_and_a_closed_one_is_not(new_world: Callable[..., World]) -> None:
    world = new_world()
    _, controller, refresher, pane = _open_order(world)
    placed = [body for kind, body in world.points.announced if kind == "orders"]
    assert msgspec.json.decode(placed[-1], type=OrderPlaced).pane == pane
    controller.remind()
    assert world.points.announced[-1] == ("orders", placed[-1])
    assert refresher.advance()
    n = len(world.points.announced)
    controller.remind()
    assert len(world.points.announced) == n
    assert not refresher.advance()


def test_an_order_that_cannot_be_planned_again_is_refused(new_world: Callable[..., World]) -> None:
    world = new_world()
    *_, pane = _open_order(world)
    _, _, refresher = world.roles()
    plan = type(refresher.deciding).plan

    class Otherwise(type(refresher.deciding)):  # type: ignore[misc]
        def plan(self, *known: Any) -> Any:
            planned = plan(self, *known)
            return replace(planned, plan=replace(planned.plan, order=None))

    deciding = refresher.deciding
    otherwise = Otherwise(**{each.name: getattr(deciding, each.name) for each in fields(deciding)})
    with pytest.raises(ConfigError, match=rf"refresher: the order of pane {pane} cannot be planned again") as refused:
        replace(refresher, deciding=otherwise).advance()
    assert "same configuration" in refused.value.mend
    assert refresher.ledger.get(RESULTS, pane) is None


def test_panes_expire_but_for_those_that_something_rests_on(new_world: Callable[..., World]) -> None:
    world = new_world()
    evaluator, controller, refresher = world.roles()
    roles = (replace(evaluator, retained_panes=1), controller, refresher)
    while not is_over(evaluator.ledger):
        for role in roles:
            role.advance()
    records = evaluator.ledger.records()
    assert set(records) >= {0, 1, N_PANES - 1}
    assert 2 not in records
    assert decode_record(records[N_PANES - 1]).pane == N_PANES - 1


def test_the_fine_tune_of_a_flag_is_recorded_with_its_pane_wherever_a_role_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conclude = Deciding.conclude

    def flagging(self: Deciding, *args: Any) -> PaneRecord:
        record = conclude(self, *args)
        if record.pane != 2 or record.decision is None:
            return record
        raised = flag(record.window_end_ms)
        return msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, flag=raised))

    monkeypatch.setattr(Deciding, "conclude", flagging)
    undisturbed = World(tmp_path / "undisturbed")
    undisturbed.advance_to_the_end()
    (made,) = StoredFineTunes(undisturbed.database).list()
    assert (made.fine_tune_id, made.run_id, made.status) == (f"run-{3 * PANE_MS}", "run", FineTuneStatus.FLAGGED)
    for fatal in range(2, undisturbed.points.n, 6):
        world = World(tmp_path / str(fatal), Points(fatal))
        world.advance_to_the_end()
        assert [each.flag for each in StoredFineTunes(world.database).list()] == [made.flag], fatal
