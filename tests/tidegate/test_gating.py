"""Tables that are refused and engines that are away, through the roles of a run: what serves goes on serving."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from refresh.engines import Answers, open_engine
from refresh.gates import GateBounds
from refresh.gates.aside import Candidates
from refresh.prompts import RowContexts
from refresh.table_store import TableStore
from stream.ledger import RECORDS, Ledger
from tests.tidegate.test_answering import N_CLUSTERS, N_PANES, World
from tidegate.cli.answering import is_over
from tidegate.cli.decisions import _listed
from tidegate.cli.gating import Gating
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.cli.refresh_gate import publish_candidate
from tidegate.cli.replaying import Outcome, Replaying
from tidegate.cli.scoring import serving_version
from tidegate.errors import EngineError, EngineUnavailableError, OrderError, TableUnavailableError

AWAY = EngineUnavailableError("the server at http://llm:8000 does not answer", "Start it", place="--engine")


def sound(answers: Answers, _: RowContexts) -> Answers:
    return answers


def answers_c2(answers: Answers, contexts: RowContexts) -> Answers:
    return replace(answers, clusters=np.tile(contexts.c2[:, None], answers.clusters.shape[1]))


def unlikely(answers: Answers, _: RowContexts) -> Answers:
    return replace(answers, label_mass=np.full_like(answers.label_mass, 0.01))


def away(*_: Any) -> Answers:
    raise AWAY


@dataclass
class MoodyKeeper:
    """The frequency engine, whose answers are spoiled as the pane has it."""

    moods: dict[int, Callable[..., Answers]] = field(default_factory=dict)
    asked: list[tuple[int, int]] = field(default_factory=list)
    name: str = "moody"
    fingerprint: str = "moody-1"
    model: str | None = None

    def __post_init__(self) -> None:
        self._engine = open_engine("frequency", [f"c{n}" for n in range(N_CLUSTERS)])
        self._pane = -1

    @property
    def prompts(self) -> Any:
        return self._engine.prompts

    def grow(self, names: Any) -> None:
        self._engine.grow(names)

    def engine(self, names: Any, window: Any, pane: int, model: str | None) -> MoodyKeeper:
        self._pane = pane
        return self

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Any = None) -> Answers:
        self.asked.append((self._pane, len(contexts)))
        answers = self._engine.infer(contexts, top_n=top_n)
        return self.moods.get(self._pane, sound)(answers, contexts)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home", flags={"policy": "always"})
    yield made
    made.database.close()


def answered(
    world: World, keeper: MoodyKeeper, bounds: GateBounds | None = None, *, outlives_failures: bool = True
) -> list[PaneRecord]:
    """Answer all panes; records by pane."""
    evaluator, controller, refresher = world.roles()
    refreshing = replace(
        refresher.refreshing,
        engines=keeper,
        gating=Gating(bounds or GateBounds(), Candidates(world.home / "candidates", world.clock)),
        outlives_failures=outlives_failures,
    )
    roles = (evaluator, controller, replace(refresher, refreshing=refreshing))
    while not is_over(evaluator.ledger):
        assert sum(role.advance() for role in roles)
    return records_of(world)


def records_of(world: World) -> list[PaneRecord]:
    ledger = Ledger(world.database, "run")
    return [decode_record(ledger.get(RECORDS, pane) or b"") for pane in range(N_PANES)]


def tables_of(world: World) -> TableStore:
    return TableStore(world.home / "tables", world.clock)


# The world turns round at pane 3, where all rows change at once; its few users cannot prove that this is right.
STRICT, LOOSE = GateBounds(max_changed_full=0.0), GateBounds(max_changed_full=1.0)


def test_healthy_refreshes_pass_with_all_gates_on_record(world: World) -> None:
    records = answered(world, MoodyKeeper(), LOOSE)
    results = [record.result for record in records if record.result]
    assert [result.outcome for result in results] == ["completed"] * 3
    first, _, last = results
    assert [verdict.gate for verdict in first.gates] == ["validity", "label_mass", "exact_match"]
    assert [verdict.gate for verdict in last.gates][3:] == ["coverage", "rows_changed", "hit_rate"]
    assert all(verdict.is_passed for result in results for verdict in result.gates)
    assert not (world.home / "candidates").exists()


def test_an_invalid_first_table_is_none_and_orders_wait_ever_longer(world: World) -> None:
    keeper = MoodyKeeper(dict.fromkeys(range(N_PANES), answers_c2))
    records = answered(world, keeper)
    assert [record.result.outcome for record in records if record.result] == ["gate_failed", "gate_failed"]
    assert [record.table_version for record in records] == [None] * N_PANES
    assert tables_of(world).current() is None
    assert keeper.asked == [(1, N_CLUSTERS), (2, N_CLUSTERS)]  # and pane 3 does not pay for the same a third time
    result, waiting = records[1].result, records[3].decision
    assert result is not None and waiting is not None
    assert result.faults == {"not_new": N_CLUSTERS}
    assert (result.gates[0].gate, result.gates[0].is_passed) == ("validity", False)
    assert "5 of 5 answers are invalid, at most 2.0% may be (5 not_new)" in result.gates[0].sentence
    assert waiting.order is None
    assert waiting.explanation.startswith("no order for 1 more panes, since the last 2 were not published")


def test_answers_that_are_unlikely_are_refused_and_asked_for_no_second_time(world: World) -> None:
    keeper = MoodyKeeper({1: unlikely})
    records = answered(world, keeper)
    first, second = records[1].result, records[2].result
    assert first is not None and second is not None
    assert (first.outcome, first.gates[1].gate, first.gates[1].found) == (
        "gate_failed",
        "label_mass",
        pytest.approx(0.01),
    )
    # The rows of the first order are kept, so the second one pays for none of them, and is judged by its own answers.
    assert keeper.asked[0] == (1, N_CLUSTERS)
    assert not [pane for pane, _ in keeper.asked if pane == 2]
    assert second.outcome == "completed"


def test_a_candidate_that_changes_too_much_is_kept_aside_and_said_in_words(world: World) -> None:
    records = answered(world, MoodyKeeper(), STRICT)
    before, refused = records[2], records[3]
    assert refused.result is not None
    assert (refused.result.outcome, refused.result.candidate) == ("gate_failed", 1)
    assert refused.table_version == before.table_version == tables_of(world).current()
    (kept,) = Candidates(world.home / "candidates").all()
    assert (kept.order_id, kept.replaces) == (refused.result.order_id, before.table_version)
    assert msgspec.json.decode(msgspec.json.encode(kept.gates)) == msgspec.json.decode(
        msgspec.json.encode(refused.result.gates)
    )
    words = _listed(refused)["explanation"]
    assert f"Not published, version {before.table_version} goes on serving: rows_changed: " in words
    assert "at most 0.0% may by a full refresh" in words


def test_a_person_lets_a_candidate_serve_and_the_run_starts_from_it(world: World) -> None:
    last = answered(world, MoodyKeeper(), STRICT)[3]
    tables, candidates = tables_of(world), Candidates(world.home / "candidates", world.clock)
    order_id = candidates.all()[0].order_id
    before = tables.current()
    version = publish_candidate(candidates, tables, order_id, "the world did turn round", 5)
    assert (tables.current(), tables.manifest(version).parent) == (version, before)
    assert tables.load().content_checksum() == candidates.all()[0].content_checksum
    move = tables.history()[-1]
    assert (move.action, move.from_version, move.to_version) == ("override", before, version)
    assert move.who
    assert move.why == f"gates rows_changed of order {order_id} overridden: the world did turn round"
    assert (candidates.all()[0].published_as, candidates.all()[0].why) == (version, "the world did turn round")
    assert serving_version(tables, last) == version
    assert publish_candidate(candidates, tables, order_id, "again", 6) == version
    assert len(tables.history()) == 2
    assert candidates.all()[0].why == "the world did turn round"


def test_decisions_after_refused_orders_are_replayed_to_the_same(world: World) -> None:
    answered(world, MoodyKeeper({1: answers_c2, 2: away}))
    _, _, refresher = world.roles()
    replays = list(Replaying(Ledger(world.database, "run"), refresher.deciding).replay())
    assert len(replays) >= 3
    assert {replay.outcome for replay in replays} == {Outcome.SAME}


@pytest.mark.parametrize(("pane", "serves"), [(1, None), (3, 1)])
def test_an_engine_that_is_away_for_a_while_ends_nothing(world: World, pane: int, serves: int | None) -> None:
    records = answered(world, MoodyKeeper({pane: away}), LOOSE)
    assert [record.result.outcome for record in records if record.result].count("completed") == 2
    failed = records[pane]
    assert failed.result is not None
    assert (failed.result.outcome, failed.result.problem) == ("failed", str(AWAY))
    assert (failed.result.llm_calls, failed.table_version) == (0, serves)
    assert str(AWAY) in _listed(failed)["explanation"]


def test_an_engine_that_is_away_from_the_start_leaves_no_table_and_is_asked_seldom(world: World) -> None:
    keeper = MoodyKeeper(dict.fromkeys(range(N_PANES), away))
    records = answered(world, keeper)
    assert [record.table_version for record in records] == [None] * N_PANES
    assert [pane for pane, _ in keeper.asked] == [1, 2]


def test_a_run_with_an_end_stops_where_the_engine_is_away_and_goes_on_from_there(world: World) -> None:
    keeper = MoodyKeeper({3: away})
    with pytest.raises(EngineUnavailableError, match="does not answer"):
        answered(world, keeper, LOOSE, outlives_failures=False)
    assert tables_of(world).current() == 1
    keeper.moods.clear()
    records = answered(world, keeper, LOOSE, outlives_failures=False)
    assert [record.result.outcome for record in records if record.result] == ["completed"] * 3


def test_answers_out_of_contract_stop_whoever_asks_and_touch_nothing(world: World) -> None:
    keeper = MoodyKeeper({3: lambda answers, _: replace(answers, clusters=answers.clusters[:, :1])})
    with pytest.raises(EngineError, match="clusters of the answers are"):
        answered(world, keeper)
    assert tables_of(world).current() == 1


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_at_publishing_leaves_what_serves_and_costs_no_second_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = MoodyKeeper({2: sound})
    with monkeypatch.context() as patched, pytest.raises(TableUnavailableError) as refused:
        patched.setattr("refresh.table_store.write_manifest", full_disk)
        answered(world, keeper, outlives_failures=False)
    assert "the table version cannot be written (No space left on device)" in str(refused.value)
    assert "its rows are kept" in refused.value.mend
    assert str(world.home / "tables") in str(refused.value.place)
    assert tables_of(world).current() is None
    asked = list(keeper.asked)
    records = answered(world, keeper)
    assert records[1].table_version == 1
    assert keeper.asked[: len(asked)] == asked
    assert not [pane for pane, _ in keeper.asked[len(asked) :] if pane == 1]


def test_a_disk_that_is_full_for_a_while_ends_no_refresher(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write, panes = MoodyKeeper.engine, []

    def engine(self: MoodyKeeper, *known: Any) -> MoodyKeeper:
        panes.append(known[2])
        monkeypatch.setattr("refresh.table_store.write_table_files", full_disk if known[2] == 3 else real)
        return write(self, *known)

    import refresh.table_store as store

    real = store.write_table_files  # type: ignore[attr-defined]
    monkeypatch.setattr(MoodyKeeper, "engine", engine)
    records = answered(world, MoodyKeeper())
    assert records[3].result is not None
    assert (records[3].result.outcome, records[3].table_version) == ("failed", 1)
    assert "No space left" in (records[3].result.problem or "")


def test_rows_that_cannot_be_kept_are_an_error_that_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, pytest.raises(OrderError) as refused:
        patched.setattr("refresh.row_cache.write_atomically", full_disk)
        answered(world, MoodyKeeper(), outlives_failures=False)
    assert "inferred rows cannot be written: No space left on device" in str(refused.value)
    assert tables_of(world).current() is None
