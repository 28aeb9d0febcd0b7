"""Orders are carried out once: known keys cost nothing, bad answers change nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from refresh.bulk import BulkOptions
from refresh.bulk.orders import discard_order
from refresh.engines import Answers, open_engine
from refresh.policies import AdaptivePolicy, PolicyOptions, PolicyState, open_policy
from refresh.policies.by_hand import open_by_hand
from refresh.policies.holding import held
from refresh.prompts import RowContexts
from refresh.refresher import Refreshed, Refresher
from refresh.row_cache import RowCache
from refresh.table import TransitionTable
from tests.refresh.logs import DAY_MS, LOG, NAMES, OWN, table_with, view
from tidegate.contracts import Trigger
from tidegate.errors import EngineError

EMPTY = TransitionTable.empty(NAMES, top_n=2)


class SpyEngine:
    """The frequency engine, with a note of every row it is asked for and faults on demand."""

    name = "spy"
    fingerprint = "spy-1"

    def __init__(self) -> None:
        self._engine = open_engine("frequency", list(NAMES))
        self.asked: list[tuple[int, int]] = []
        self.answers_c2 = False

    @property
    def prompts(self):
        return self._engine.prompts

    def grow(self, names):
        self._engine.grow(names)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress=None) -> Answers:
        self.asked += list(zip(contexts.c1.tolist(), contexts.c2.tolist(), strict=True))
        answers = self._engine.infer(contexts, top_n=top_n, on_progress=on_progress)
        return replace(answers, clusters=np.tile(contexts.c2[:, None], top_n)) if self.answers_c2 else answers


@pytest.fixture
def cache(tmp_path: Path) -> RowCache:
    return RowCache(tmp_path / "rows", top_n=2)


def execute(engine: SpyEngine, cache: RowCache, plan, table=EMPTY, *, pane: int = 9) -> Refreshed:
    return Refresher(engine, cache, top_n=2).execute(plan, table, table_version=0, pane=pane, window_end_ms=pane)


def test_bought_rows_and_the_free_backoff_arrive_in_the_table(cache: RowCache):
    engine = SpyEngine()
    refreshed = execute(engine, cache, AdaptivePolicy(top_n=2).plan(view(LOG, None)))
    assert engine.asked == [(0, 1)]
    assert refreshed.table.predict(np.array([0, 4], np.int32), np.array([1, 1], np.int32)).tolist() == [2, 3]
    assert (refreshed.result.llm_calls, refreshed.result.reused, refreshed.result.outcome) == (1, 0, "completed")
    assert refreshed.result.rows_changed == 1 + len(NAMES)  # the pair's row, and a backoff row of every cluster


def test_an_equal_key_is_never_inferred_again(cache: RowCache):
    engine, plan = SpyEngine(), AdaptivePolicy(top_n=2).plan(view(LOG, None))
    first = execute(engine, cache, plan, pane=9)
    again = execute(engine, cache, plan, first.table, pane=10)
    assert engine.asked == [(0, 1)]
    assert (again.result.llm_calls, again.result.reused, again.result.rows_changed) == (0, 1, 0)
    assert again.table.content_checksum() == first.table.content_checksum()


def test_a_pane_done_again_after_a_crash_asks_nothing_and_counts_the_same(cache: RowCache, tmp_path: Path):
    engine, plan = SpyEngine(), AdaptivePolicy(top_n=2).plan(view(LOG, None))
    first = execute(engine, cache, plan)
    again = execute(engine, RowCache(tmp_path / "rows", top_n=2), plan)
    assert engine.asked == [(0, 1)]
    assert again.result.llm_calls == first.result.llm_calls == 1
    assert again.table.content_checksum() == first.table.content_checksum()


def test_inferred_rows_of_c2_arrive_on_the_backoff_level(cache: RowCache):
    engine, policy = SpyEngine(), AdaptivePolicy(PolicyOptions(infers_backoff=True), top_n=2)
    first = execute(engine, cache, policy.plan(view(LOG, None)))
    assert engine.asked == [(-1, 1), (0, 1)]  # by c1, then c2: neighbours share their prompts' beginnings
    assert first.result.llm_calls == 2
    assert first.table.backoff_clusters[1].tolist() == [3, -1]  # the frequency engine answers the line it reads
    assert first.table.backoff_row_keys[1].any()
    assert first.table.predict(np.array([4], np.int32), np.array([1], np.int32)).tolist() == [3]
    again = execute(engine, cache, policy.plan(view(LOG, first.table)), first.table, pane=10)
    assert (again.result.llm_calls, again.result.rows_changed) == (0, 0)


def test_calendars_pay_for_every_row_each_time(cache: RowCache):
    engine, plan = SpyEngine(), open_policy("always", DAY_MS, PolicyOptions()).plan(view(LOG, None))
    first = execute(engine, cache, plan, pane=9)
    again = execute(engine, cache, plan, first.table, pane=10)
    assert (again.result.llm_calls, again.result.reused) == (4, 0)


def test_an_invalid_answer_keeps_the_old_row_and_is_counted(cache: RowCache):
    engine = SpyEngine()
    engine.answers_c2 = True
    stale = table_with(OWN, 5)
    refreshed = execute(engine, cache, AdaptivePolicy(top_n=2).plan(view(LOG, stale)), stale)
    assert refreshed.result.rows_invalid == 1
    assert refreshed.table.clusters[0, 0] == 5
    assert len(cache) == 0


def test_retired_rows_leave_the_table(cache: RowCache):
    stale = table_with(4 << 16 | 1, 2)
    plan = AdaptivePolicy(top_n=2).plan(view({(4, 1, 3): 60, (5, 1, 3): 60}, stale))
    refreshed = execute(SpyEngine(), cache, plan, stale)
    assert refreshed.table.n_rows == 0
    assert (refreshed.result.rows_retired, refreshed.result.llm_calls) == (1, 0)


def test_a_failing_engine_leaves_table_and_cache_alone(cache: RowCache, monkeypatch: pytest.MonkeyPatch):
    engine = SpyEngine()

    def fail(*_: object, **__: object) -> Answers:
        raise EngineError("no answer", "Start it")

    monkeypatch.setattr(engine, "infer", fail)
    with pytest.raises(EngineError, match="no answer"):
        execute(engine, cache, AdaptivePolicy(top_n=2).plan(view(LOG, None)))
    assert len(cache) == 0


# --- in chunks -----------------------------------------------------------------------------------------------------

ALWAYS = open_policy("always", DAY_MS, PolicyOptions()).plan(view(LOG, None))


def in_chunks(engine: SpyEngine, cache: RowCache, plan=ALWAYS, *, pane: int = 9) -> Refreshed:
    refresher = Refresher(engine, cache, top_n=2, bulk=BulkOptions(chunk_rows=1))
    return refresher.execute(plan, EMPTY, table_version=0, pane=pane, window_end_ms=pane)


def test_a_crash_between_chunks_costs_no_second_call_and_counts_the_same(
    cache: RowCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    engine, undisturbed = SpyEngine(), SpyEngine()
    infer = engine.infer

    def crash_at_the_third(contexts: RowContexts, **how: object) -> Answers:
        if len(engine.asked) == 2:
            raise EngineError("killed", "Start again")
        return infer(contexts, **how)

    monkeypatch.setattr(engine, "infer", crash_at_the_third)
    with pytest.raises(EngineError, match="killed"):
        in_chunks(engine, cache)
    assert len(cache) == 0
    monkeypatch.undo()
    again = in_chunks(engine, RowCache(tmp_path / "rows", top_n=2))
    whole = in_chunks(undisturbed, RowCache(None, top_n=2))
    assert sorted(engine.asked) == sorted(undisturbed.asked)
    assert again.result == whole.result
    assert again.table.content_checksum() == whole.table.content_checksum()
    assert (again.report.n_chunks, again.report.n_resumed, whole.report.n_chunks) == (4, 2, 1)


def test_what_is_left_of_an_order_goes_when_the_next_one_begins(cache: RowCache):
    in_chunks(SpyEngine(), cache, pane=9)
    assert cache.orders is not None
    assert [path.name for path in cache.orders.iterdir()] == [ALWAYS.order.order_id]
    execute(SpyEngine(), cache, AdaptivePolicy(top_n=2).plan(view(LOG, None)), pane=10)
    assert not list(cache.orders.iterdir())


@pytest.mark.parametrize("is_torn", [False, True])
def test_what_a_failed_order_has_finished_is_not_asked_again_by_the_next(
    cache: RowCache, monkeypatch: pytest.MonkeyPatch, is_torn: bool
):
    engine = SpyEngine()
    infer = engine.infer

    def fail_at_the_third(contexts: RowContexts, **how: object) -> Answers:
        if len(engine.asked) == 2:
            raise EngineError("away", "Start it")
        return infer(contexts, **how)

    monkeypatch.setattr(engine, "infer", fail_at_the_third)
    with pytest.raises(EngineError, match="away"):
        in_chunks(engine, cache, pane=9)
    monkeypatch.undo()
    assert cache.orders is not None
    (left,) = cache.orders.iterdir()
    if is_torn:
        next(left.glob("*.shard")).write_bytes(b"torn")
    later = in_chunks(
        engine, cache, replace(ALWAYS, order=msgspec.structs.replace(ALWAYS.order, order_id="run-10")), pane=10
    )
    assert len(engine.asked) == 5 if is_torn else sorted(engine.asked) == sorted(set(engine.asked))
    assert later.result.llm_calls == 4
    assert (
        later.table.content_checksum()
        == in_chunks(SpyEngine(), RowCache(None, top_n=2), pane=10).table.content_checksum()
    )


def test_an_order_that_another_worker_finished_is_taken_from_what_it_kept(
    cache: RowCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Between two chunks of ours, another refresher finishes the order, keeps its rows and cleans up."""
    ours, others = SpyEngine(), SpyEngine()
    infer = ours.infer

    def be_overtaken(contexts: RowContexts, **how: object) -> Answers:
        if not others.asked:
            in_chunks(others, RowCache(tmp_path / "others", top_n=2))
            (kept,) = (tmp_path / "others").glob("pane-*")
            assert cache.orders is not None
            shutil.copy(kept, tmp_path / "rows")
            discard_order(cache.orders / ALWAYS.order.order_id)
        return infer(contexts, **how)

    monkeypatch.setattr(ours, "infer", be_overtaken)
    found = in_chunks(ours, cache)
    assert len(ours.asked) == 1
    assert found.result.llm_calls == 4
    assert found.table.content_checksum() == in_chunks(SpyEngine(), RowCache(None, top_n=2)).table.content_checksum()


def test_a_person_pays_once_where_a_run_pays_again(cache: RowCache):
    engine, by_hand = SpyEngine(), open_by_hand("all", "always", DAY_MS, PolicyOptions(), 2).plan(view(LOG, None))
    assert by_hand.order.trigger is Trigger.OPERATOR
    assert by_hand.explanation.startswith("by hand: ")
    first = execute(engine, cache, by_hand)
    again = execute(engine, cache, by_hand, first.table)
    assert (first.result.llm_calls, again.result.llm_calls, again.result.reused) == (4, 0, 4)
    assert first.result.order_id != ALWAYS.order.order_id


def test_a_person_may_order_what_the_policy_would():
    policy = open_by_hand("ordered", "adaptive:0.3", DAY_MS, PolicyOptions(), 2)
    plan = policy.plan(view(LOG, None))
    assert policy.name == "ordered rows by hand"
    assert plan.pairs.tolist() == [OWN]
    nothing = open_by_hand("ordered", "never", DAY_MS, PolicyOptions(), 2).plan(view(LOG, table_with(OWN, 2)))
    assert nothing.order is None


def test_a_persons_order_is_not_held_back():
    waiting = replace(view(LOG, None), state=PolicyState(n_failed_orders=1, held_until_pane=2**40))
    for policy, is_held in (
        (open_policy("always", DAY_MS, PolicyOptions()), True),
        (open_by_hand("all", "always", DAY_MS, PolicyOptions(), 2), False),
    ):
        assert (held(policy.plan(waiting), waiting).order is None) == is_held
