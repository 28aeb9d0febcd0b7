"""The worker against a recount from scratch: whatever the batches, whatever breaks, nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.closing import PaneClosing
from stream.store import RunStore
from stream.worker import BatchAccount
from tests.stream.worker_runs import (
    Case,
    Run,
    Schedule,
    Stop,
    after,
    case_of,
    cases,
    cuts,
    expected_of,
    hypothesis_settings,
    walk,
)
from tidegate.errors import EmptySourceError, SourceError, StoreError


@given(case=cases(), schedule=cuts())
@hypothesis_settings
def test_any_interleaving_and_any_batches_count_what_the_glossary_says(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    assert run.session(schedule)
    run.assert_complete()
    assert sum(account.n_records for account in run.accounts) == sum(map(len, case.streams.values()))
    stats = run.worker.sequences.stats.values.sum(axis=0)
    assert np.sum([account.figures for account in run.accounts], axis=0).tolist() == stats.tolist()


@given(case=cases(), schedules=st.lists(cuts(), min_size=3, max_size=3), n=st.integers(0, 8), m=st.integers(0, 8))
@hypothesis_settings
def test_stopping_after_any_batch_and_going_on_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedules: list[Schedule], n: int, m: int
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    for schedule, stop_after in zip(schedules, (n, m, 10_000), strict=True):
        has_ended = run.session(schedule, should_stop=after(stop_after))
    assert has_ended
    run.assert_complete()


@given(case=cases(), schedule=cuts(), data=st.data())
@hypothesis_settings
def test_a_handler_that_fails_at_any_pane_is_asked_again_for_that_pane_only(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule, data: st.DataObject
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    bad = data.draw(st.sampled_from(expected_of(case).panes))

    def refuse(closed: PaneClosing) -> None:
        if closed.pane == bad:
            raise RuntimeError("no engine")

    with pytest.raises(RuntimeError, match="no engine"):
        run.session(schedule, before_record=refuse)
    assert run.panes == [pane for pane in expected_of(case).panes if pane < bad]
    assert run.session(schedule)
    run.assert_complete()


@given(case=cases(), schedule=cuts(), n=st.integers(0, 12))
@hypothesis_settings
def test_a_process_that_dies_between_commits_reads_the_rest_again(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule, n: int
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    batches = iter(range(1_000_000))

    def die(_: BatchAccount) -> None:
        if next(batches) == n:
            raise Stop

    try:
        run.session(schedule, on_batch=die)
    except Stop:
        assert run.session()
    run.assert_complete()


@given(case=cases(), schedule=cuts(), n=st.integers(0, 6))
@hypothesis_settings
def test_a_commit_that_the_database_refuses_costs_nothing_but_a_restart(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule, n: int
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    try:
        run.session(schedule, break_commit=n)
    except StoreError:
        assert run.session(schedule)
    run.assert_complete()


@pytest.mark.parametrize("number", range(4))
def test_a_refused_commit_is_not_followed_by_one_of_half_the_state(new_run: Callable[[Case], Run], number: int) -> None:
    """State that was taken for the refused commit would be missing from a next one, which moves the offsets on."""
    run = new_run(case_of(*walk([0, 10, 110, 210, 310, 320])))
    with pytest.raises(StoreError, match="disk full"):
        run.session(break_commit=number)
    assert run.session()
    run.assert_complete()


@given(case=cases(), schedule=cuts(), n=st.integers(0, 6))
@hypothesis_settings
def test_a_source_that_fails_leaves_what_it_yielded_committed(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule, n: int
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    try:
        run.session(schedule, fails_after=n)
    except SourceError as error:
        assert not isinstance(error, EmptySourceError)
        stored = RunStore(run.path, "log", "{}")
        offsets, outcomes = stored.offsets(), stored.progress().outcomes
        stored.close()
        n_read = sum(offset for offset, _ in offsets.values())
        assert n_read == sum(account.n_records for account in run.accounts) == sum(outcomes.values())
        run.session()
    run.assert_complete()
