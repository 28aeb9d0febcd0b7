"""What evaluator and controller export of the store, held against the store itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from monitoring.metrics import AnsweringMetrics
from refresh.fine_tune_flag import FineTuneState
from refresh.finetune import lifecycle
from refresh.finetune.lifecycle import Actor
from stream.fine_tune_book import StoredFineTunes
from stream.ledger import DECISIONS
from stream.sequence_kernel import HITS_NEXT, SCORED
from tests.fine_tunes import flag
from tests.monitoring.test_metrics import report, result, samples
from tests.tidegate.test_answering import N_PANES, PANE_MS, World
from tidegate.cli.observing import (
    PaneWatch,
    TableWatch,
    show_fine_tunes,
    show_objective,
    show_records,
    tell_record,
)
from tidegate.cli.records import PaneRecord
from tidegate.clock import ManualClock
from tidegate.contracts import FineTuneAction

FLAGGED = 'tidegate_fine_{}{{status="flagged"}}'


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=100_000)


@pytest.fixture
def metrics(clock: ManualClock) -> AnsweringMetrics:
    return AnsweringMetrics(CollectorRegistry(), clock)


def pending(metrics: AnsweringMetrics) -> dict[str, float]:
    found = samples(metrics.registry)
    return {
        step: found[f'tidegate_panes_pending{{step="{step}"}}']
        for step in ("close", "report", "decide", "record")
        if f'tidegate_panes_pending{{step="{step}"}}' in found
    }


def test_panes_are_followed_from_counted_to_recorded(world: World, metrics: AnsweringMetrics):
    evaluator, controller, refresher = world.roles()
    watch = PaneWatch(metrics, evaluator.ledger, PANE_MS)
    evaluator.advance()  # closes the first
    watch.of_evaluator()
    assert pending(metrics) == {"close": N_PANES - 1, "report": 1}
    evaluator.advance()
    watch.of_evaluator()
    watch.of_controller()
    assert pending(metrics) == {"close": N_PANES - 1, "report": 0, "decide": 1, "record": 0}
    while evaluator.advance() or controller.advance() or refresher.advance():
        pass
    watch.of_evaluator()
    watch.of_controller()
    assert set(pending(metrics).values()) == {0}
    found = samples(metrics.registry)
    ends = {name: value for name, value in found.items() if name.startswith("tidegate_pane_end_timestamp_seconds")}
    assert set(ends.values()) == {N_PANES * PANE_MS / 1_000}
    assert len(ends) == 5
    assert found["tidegate_orders_open"] == 0


def test_an_order_is_open_from_its_decision_to_its_result(world: World, metrics: AnsweringMetrics, clock: ManualClock):
    evaluator, controller, refresher = world.roles()
    watch = PaneWatch(metrics, evaluator.ledger, PANE_MS)
    while evaluator.advance() or controller.advance():
        pass
    assert evaluator.ledger.last_pane(DECISIONS) is not None
    watch.of_controller()
    clock.advance_ms(9_000)
    watch.of_controller()
    found = samples(metrics.registry)
    assert (found["tidegate_orders_open"], found["tidegate_order_age_seconds"]) == (1, 9)
    refresher.advance()
    watch.of_controller()
    assert samples(metrics.registry)["tidegate_orders_open"] == 0


def test_a_run_without_a_pane_has_nothing_pending(tmp_path: Path, metrics: AnsweringMetrics, world: World):
    evaluator, _, _ = world.roles()
    PaneWatch(metrics, type(evaluator.ledger)(world.database, "another run"), PANE_MS).of_evaluator()
    assert pending(metrics) == {"close": 0, "report": 0}


def test_the_table_that_serves_is_shown_whoever_made_it_serve(world: World, metrics: AnsweringMetrics):
    _, _, refresher = world.roles()
    tables = refresher.refreshing.tables
    watch = TableWatch(metrics, tables)
    watch.look()
    assert "tidegate_table_version" not in samples(metrics.registry)
    world.advance_to_the_end()
    watch.look()
    newest = tables.current()
    assert newest is not None
    assert newest > 1
    assert samples(metrics.registry)["tidegate_table_version"] == newest
    tables.rollback(1, why="a test")
    watch.look()
    found, manifest = samples(metrics.registry), tables.manifest(1)
    assert found["tidegate_table_version"] == 1
    assert found['tidegate_table_rows{level="pair"}'] == manifest.rows
    assert found["tidegate_table_published_timestamp_seconds"] == manifest.created_ms / 1_000


def test_records_are_counted_once_and_shown_again_after_a_restart(metrics: AnsweringMetrics, clock: ManualClock):
    tuned = FineTuneState(tuned_window_end_ms=0, is_flagged=True)
    record = PaneRecord(pane=4, window_end_ms=10, report=report(), result=result(), fine_tune=tuned)
    tell_record(metrics, record)
    first = samples(metrics.registry)
    assert (first["tidegate_windows_total"], first["tidegate_llm_calls_total"]) == (1, 7)
    assert first["tidegate_fine_tune_flagged"] == 1
    again = AnsweringMetrics(CollectorRegistry(), clock)
    show_records(again, [record])
    after = samples(again.registry)
    assert (after["tidegate_windows_total"], after["tidegate_llm_calls_total"]) == (0, 0)
    same = ("tidegate_drift_z", "tidegate_drift_since_timestamp_seconds", "tidegate_fine_tune_flagged")
    assert {name: after[name] for name in same} == {name: first[name] for name in same}
    # A refresh that answered the drift before the restart answers it after, too.
    assert after["tidegate_refresh_completed_timestamp_seconds"] >= after["tidegate_drift_since_timestamp_seconds"]


def test_the_weights_that_answer_are_shown_also_after_a_restart(metrics: AnsweringMetrics, clock: ManualClock):
    def shown(metrics: AnsweringMetrics) -> tuple[float | None, float | None]:
        found = samples(metrics.registry)
        return found.get("tidegate_weights_version"), found.get("tidegate_weights_since_timestamp_seconds")

    untrained = PaneRecord(pane=2, window_end_ms=3 * PANE_MS)
    own = PaneRecord(pane=3, window_end_ms=4 * PANE_MS, model="models/run/pane-3")
    tuned = PaneRecord(pane=6, window_end_ms=7 * PANE_MS, model="models/run/v000002", weights=2, weights_since_pane=5)
    for record, expected in ((untrained, (None, None)), (own, (0, None)), (tuned, (2, 6 * PANE_MS / 1_000))):
        tell_record(metrics, record)
        assert shown(metrics) == expected
    again = AnsweringMetrics(CollectorRegistry(), clock)
    show_records(again, [untrained, own, tuned])
    assert shown(again) == shown(metrics)


def objective(metrics: AnsweringMetrics) -> float | None:
    return samples(metrics.registry).get("tidegate_hit_rate_objective")


def test_the_objective_is_the_one_asked_for_or_nine_tenths_of_a_level(world: World, metrics: AnsweringMetrics):
    reader = world.roles()[0].ledger
    show_objective(metrics, None, reader, None, N_PANES + 1)
    assert objective(metrics) is None  # not as many scored panes yet
    world.advance_to_the_end()
    scored = [figures for figures in reader.stats().values() if figures[SCORED]][:2]
    hits, n_scored = (sum(int(figures[column]) for figures in scored) for column in (HITS_NEXT, SCORED))
    show_objective(metrics, None, reader, None, 2)
    assert objective(metrics) == pytest.approx(0.9 * hits / n_scored)
    tuned = FineTuneState(tuned_window_end_ms=0, level_hits=30, level_scored=100)
    record = PaneRecord(pane=4, window_end_ms=10, fine_tune=tuned)
    show_objective(metrics, None, reader, record, 2)
    assert objective(metrics) == pytest.approx(0.27)
    show_objective(metrics, 0.2, reader, record, 2)
    assert objective(metrics) == 0.2


def test_fine_tunes_are_shown_by_their_status_since_their_last_step(
    world: World, metrics: AnsweringMetrics, clock: ManualClock
):
    book = StoredFineTunes(world.database)
    show_fine_tunes(metrics, book, "run")
    assert samples(metrics.registry)['tidegate_fine_tunes{status="flagged"}'] == 0
    for number, at_ms in ((1, 40_000), (2, 70_000)):
        assert book.put(lifecycle.flagged(flag(number), "run", at_ms))
    assert book.put(lifecycle.flagged(flag(3, "other"), "other", 1_000))
    show_fine_tunes(metrics, book, "run")
    found = samples(metrics.registry)
    assert (found[FLAGGED.format("tunes")], found[FLAGGED.format("tune_age_seconds")]) == (2, 60)
    first = book.get(flag(1).flag_id)
    assert first is not None
    assert book.put(lifecycle.take(first, FineTuneAction.REJECT, Actor("ann", 90_000, is_person=True), "no need"))
    clock.advance_ms(5_000)
    show_fine_tunes(metrics, book, "run")
    found = samples(metrics.registry)
    assert (found[FLAGGED.format("tunes")], found[FLAGGED.format("tune_age_seconds")]) == (1, 35)
    assert found['tidegate_fine_tune_age_seconds{status="rejected"}'] == 15
