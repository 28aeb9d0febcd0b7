"""Arms are played as runs are: nobody sees what is to come, and new weights serve only once their gates let them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from refresh.policies import PolicyOptions
from stream.shard import ShardOptions
from stream.watch_log import read_watch_log
from tests.fakes import FakeEvent, FakeSource
from tests.fine_tunes import LOST
from tests.refresh.logs import NAMES
from tests.tidegate.arm_scenes import FLAGS, N_PANES, PAIRS, WINDOW_PANES, Scene, moving, play
from tests.watch_logs import FIRST_PANE, PANE_MS, events_of, sequences
from tidegate.cli.arm_tuning import Tuned
from tidegate.cli.arms import ARMS, open_arm
from tidegate.errors import RequestError

FIRST, LAST = WINDOW_PANES - 1, N_PANES - 1  # the pane of the first table, and the last one
STOPPED = Tuned(verdicts=(LOST,))


@cache
def steady() -> Scene:
    """All arms over a log in which nothing moves."""
    return play(moving(lambda _: 0))


def calls(scene: Scene, arm: str) -> dict[int, int]:
    return {scene.at(step.pane): step.result.llm_calls for step in scene.plays[arm].contender.steps}


def test_calendars_fall_due_on_their_panes_and_never_for_nobody_to_be_served() -> None:
    scene = steady()
    for arm in ("fine_tune_only", "hybrid_calendar", "hybrid_calendar+own"):
        assert scene.due(arm) == [FIRST, FIRST + 4, FIRST + 8]
        taken = [each.taken_on_pane for each in scene.plays[arm].fine_tunes]
        assert [scene.at(pane) for pane in taken if pane is not None] == [FIRST, FIRST + 5, FIRST + 9]
    late = play(moving(lambda _: 0), "fine_tune_only", fine_tune_panes=5)
    assert late.due("fine_tune_only") == [FIRST, FIRST + 5, FIRST + 10]
    last = late.plays["fine_tune_only"].fine_tunes[-1]
    assert late.at(last.pane) == LAST - 1 and last.tuned is None and last.taken_on_pane is None
    assert [pane for pane, _, _ in late.tuning.asked] == [FIRST, FIRST + 5]


def test_retrieval_alone_never_trains_after_the_start() -> None:
    scene = steady()
    assert scene.due("rag_only") == [FIRST]
    assert str(scene.plays["rag_only"].weights.folder) == f"lines-{FIRST}"
    n = len(PAIRS)
    assert list(calls(scene, "rag_only").values()) == [n, 0] * 5 + [n]  # every two panes, all anew


def test_fine_tunes_alone_never_ask_with_a_line_and_hold_their_rows_in_between() -> None:
    scene = play(moving(lambda at: at // 3), "fine_tune_only")
    assert len(scene.tuning.engines) == 3
    assert all(engine.lines == {-1} for engine in scene.tuning.engines.values())
    asked = {at for at, n in calls(scene, "fine_tune_only").items() if n}
    assert asked == {FIRST, FIRST + 5, FIRST + 9}
    assert {shows for _, _, shows in scene.tuning.asked} == {False}
    assert steady().tuning.engines[f"lines-{FIRST}"].lines.isdisjoint({-1})


def test_new_weights_answer_all_rows_of_the_table_anew_and_go_on_from_the_last() -> None:
    scene = steady()
    assert calls(scene, "hybrid_calendar+own")[FIRST + 5] == len(PAIRS)
    assert calls(scene, "hybrid_calendar+own")[FIRST + 3] == 0  # nothing is new: no call
    bases = [base for at, base, shows in scene.tuning.asked if shows and at == FIRST + 8]
    assert set(bases) == {f"lines-{FIRST + 4}"}


def test_an_adaptive_arm_fine_tunes_only_when_it_is_flagged() -> None:
    assert steady().due("hybrid_adaptive") == [FIRST]
    # From pane 6 on nothing holds for two panes: whatever was read is wrong in the next.
    scene = play(moving(lambda at: 0 if at < 6 else at - 4), "hybrid_adaptive")
    flagged = scene.plays["hybrid_adaptive"].fine_tunes[1]
    assert scene.at(flagged.pane) == 7 and flagged.why == "hit_rate_below_level"  # two panes below, so the second
    assert flagged.numbers["hit_rate"] < flagged.numbers["hit_rate_level"]
    assert flagged.taken_on_pane == flagged.pane + 1
    assert str(scene.plays["hybrid_adaptive"].weights.folder).startswith("lines-7")


def test_the_level_of_new_weights_starts_anew() -> None:
    scene = play(moving(lambda at: 0 if at < 6 else at - 4), "hybrid_adaptive")
    state = scene.plays["hybrid_adaptive"].state
    assert state.tuned_window_end_ms == (scene.log.first_pane + 7 + 1) * PANE_MS
    assert state.hit_rate_level == 0.0 and not state.is_flagged  # nothing falls below nothing


def test_a_candidate_that_loses_a_gate_does_not_serve_and_what_persists_is_flagged_again() -> None:
    scene = play(moving(lambda at: 0 if at < 6 else at - 4), "hybrid_adaptive", stopped={7: STOPPED, 9: STOPPED})
    ours = scene.plays["hybrid_adaptive"]
    assert scene.due("hybrid_adaptive")[:3] == [FIRST, 7, 9]
    assert [each.taken_on_pane for each in ours.fine_tunes[1:3]] == [None, None]
    assert all(calls(scene, "hybrid_adaptive")[at] < len(PAIRS) for at in (8, 10))
    on_calendar = play(moving(lambda _: 0), "hybrid_calendar", stopped={FIRST + 4: STOPPED, FIRST + 8: STOPPED})
    assert str(on_calendar.plays["hybrid_calendar"].weights.folder) == f"lines-{FIRST}"


def test_arms_begin_with_the_first_weights_where_the_start_is_stopped() -> None:
    scene = play(moving(lambda _: 0), "rag_only", stopped={FIRST: STOPPED})
    start = scene.plays["rag_only"].fine_tunes[0]
    assert start.taken_on_pane is None and str(scene.plays["rag_only"].weights.folder) == "first"


def test_drift_since_the_fine_tune_is_measured_once_windows_no_longer_overlap() -> None:
    # Pairs are followed by another cluster from pane 5 on; hits come back at once with the lines, and drift stays.
    flags = replace(FLAGS, drift_share=0.1, hit_rate_loss=0.99)
    scene = play(moving(lambda at: 0 if at < 5 else 3), "hybrid_adaptive", flags=flags)
    why = [each.why for each in scene.plays["hybrid_adaptive"].fine_tunes]
    assert why[:2] == ["start", "drift_since_fine_tune"]


def test_a_log_without_a_transition_after_the_first_window_is_refused() -> None:
    events = events_of([{(0, 1, 2): 9}, {(0, 1, 2): 9}])
    events += [FakeEvent("idle", NAMES[0], (FIRST_PANE + at) * PANE_MS) for at in (2, 3)]
    log = read_watch_log(FakeSource({0: events}), ShardOptions(sequences()), NAMES)
    with pytest.raises(RequestError, match="no transition comes after the first window"):
        play(log, "rag_only")


def test_an_arm_that_there_is_none_of_is_refused_with_those_there_are() -> None:
    with pytest.raises(RequestError, match=r"--arms: there is no arm 'rag'.*fine_tune_only"):
        open_arm("rag", 2, PANE_MS, PolicyOptions(), 3)
    assert [open_arm(name, 2, PANE_MS, PolicyOptions(), 3).name for name in ARMS] == list(ARMS)
