"""Policies side by side: scored before they look, none sees what is to come, and none is cheaper than the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import pytest

from refresh.policies import Plan, Policy, PolicyOptions, View, open_policy
from stream.drift.course import CourseOptions
from stream.drift.options import DriftOptions
from stream.sequence_kernel import ANSWERED, HIT_MICROBITS, HITS_NEXT, SCORED, TRANSITIONS
from stream.watch_log import Watches, WatchLog
from tests.refresh.logs import N_CLUSTERS, Log
from tests.watch_logs import FIRST_PANE, PANE_MS, log_of, sequences
from tidegate.cli.backtesting import Backtest
from tidegate.cli.contender import Contender
from tidegate.cli.engine_keeper import FrequencyKeeper
from tidegate.cli.log_panes import LogPanes, PaneFacts
from tidegate.errors import RequestError

WINDOW_PANES, TOP_N, PRICE = 2, 3, 1.0
NAMES = ["never", "popular", "backoff", "always", "every:2", "cusum", "cara", "adaptive", "adaptive:0", "always+own"]
PAIRS = [(a, b) for a in range(N_CLUSTERS) for b in range(4) if a != b]


def policies(*names: str) -> list[Policy]:
    options = PolicyOptions(price=PRICE, window_panes=WINDOW_PANES)
    return [open_policy(name, PANE_MS, options, TOP_N) for name in names]


def panes_of(log: WatchLog, kind: type[LogPanes] = LogPanes) -> LogPanes:
    drift = DriftOptions(n_permutations=20, max_permutations=200, table_permutations=2_000)
    course = CourseOptions(window_panes=WINDOW_PANES)
    return kind(log, sequences(WINDOW_PANES), drift, course, FrequencyKeeper(), TOP_N)


def contenders(
    log: WatchLog,
    compared: Sequence[Policy],
    *,
    with_oracle: bool = False,
    kind: type[Backtest] = Backtest,
    panes: type[LogPanes] = LogPanes,
) -> dict[str, Contender]:
    running = kind(panes_of(log, panes), PRICE)
    return {each.policy.name: each for each in running.run(compared, with_oracle=with_oracle)}


def figures(contender: Contender, log: WatchLog) -> np.ndarray:
    scored = range(log.first_pane + WINDOW_PANES, log.last_pane + 1)
    return np.sum([contender.sequences.stats.of_pane(pane) for pane in scored], axis=0)


def calls(contender: Contender) -> list[int]:
    return [step.result.llm_calls for step in contender.steps]


def cost(contender: Contender, log: WatchLog) -> float:
    totals = figures(contender, log)
    return PRICE * sum(calls(contender)) + int(totals[SCORED] - totals[HITS_NEXT])


def drifting(seed: int, n_panes: int = 10) -> WatchLog:
    """A third of the pairs turn to another successor in the middle; the others stay, all with some noise."""
    rng, panes = np.random.default_rng(seed), list[Log]()
    for at in range(n_panes):
        log: Log = {}
        for number, (a, b) in enumerate(PAIRS):
            others = [c for c in range(N_CLUSTERS) if c not in (a, b)]
            turn = number % 3 == 0 and at >= n_panes // 2
            likely = others[(a * 3 + b + turn) % len(others)]
            for _ in range(int(rng.integers(1, 9))):
                c = likely if rng.random() < 0.6 else int(rng.choice(others))
                log[a, b, c] = log.get((a, b, c), 0) + 1
        panes.append(log)
    return log_of(panes)


@pytest.fixture(scope="module")
def log() -> WatchLog:
    return drifting(0)


@pytest.fixture(scope="module")
def ended(log: WatchLog) -> dict[str, Contender]:
    return contenders(log, policies(*NAMES), with_oracle=True)


# --- what they do --------------------------------------------------------------------------------------------------


def test_everybody_is_scored_on_all_transitions_after_the_first_window(log: WatchLog, ended: dict[str, Contender]):
    totals = {name: figures(each, log) for name, each in ended.items()}
    assert len({int(each[TRANSITIONS]) for each in totals.values()}) == 1
    assert all(each[SCORED] == each[TRANSITIONS] > 500 for each in totals.values())
    for each in ended.values():
        assert sum(each.sequences.stats.of_pane(pane)[SCORED] for pane in (FIRST_PANE, FIRST_PANE + 1)) == 0


def test_nobody_decides_after_the_last_pane_nor_before_the_first_window(log: WatchLog, ended: dict[str, Contender]):
    for name, each in ended.items():
        panes = [step.pane for step in each.steps]
        assert panes == list(range(log.first_pane + WINDOW_PANES - 1, log.last_pane)), name


def test_calendars_call_for_all_pairs_of_the_window_when_they_are_due(ended: dict[str, Contender]):
    n = len(PAIRS)
    assert calls(ended["always"]) == [n] * 8
    assert calls(ended["every:2"]) == [n, 0] * 4
    assert calls(ended["never"]) == [n] + [0] * 7
    for name in ("popular", "backoff"):
        assert calls(ended[name]) == [0] * 8


def test_our_frame_calls_only_for_what_is_new(ended: dict[str, Contender]):
    own = ended["always+own"]
    assert calls(own)[0] == len(PAIRS)
    assert sum(calls(own)[1:]) < len(PAIRS) * 7 / 2
    assert all(step.result.llm_calls + step.result.reused == len(PAIRS) for step in own.steps)


def test_adaptive_costs_less_than_calendars_and_than_no_row_at_all(log: WatchLog, ended: dict[str, Contender]):
    costs = {name: cost(ended[name], log) for name in ("adaptive", "always", "every:2", "never", "backoff", "popular")}
    assert min(costs, key=costs.__getitem__) == "adaptive"
    assert sum(calls(ended["adaptive"])) < sum(calls(ended["always"])) / 2


def test_what_was_served_is_every_answer_that_was_scored(log: WatchLog, ended: dict[str, Contender]):
    for name, each in ended.items():
        for pane, served in each.served.items():
            assert served.sum() == each.sequences.stats.of_pane(pane)[ANSWERED], (name, pane)


def test_steps_carry_their_reasons(ended: dict[str, Contender]):
    first, *others = ended["adaptive"].steps
    assert (first.trigger, set(first.reasons)) == ("first_table", {"first_table"})
    reasons = {reason for step in others for reason in step.reasons}
    assert reasons
    assert reasons <= {"evidence", "first_sight", "drift"}
    assert all(step.explanation for step in ended["adaptive"].steps)


def test_the_order_of_policies_changes_nothing(log: WatchLog, ended: dict[str, Contender]):
    again = contenders(log, policies("adaptive", "always"))
    for name, each in again.items():
        assert figures(each, log).tolist() == figures(ended[name], log).tolist()
        assert calls(each) == calls(ended[name])


def test_progress_is_told_pane_by_pane(log: WatchLog):
    told: list[tuple[int, int]] = []
    Backtest(panes_of(log), PRICE, lambda done, n: told.append((done, n))).run(policies("never"), with_oracle=False)
    assert told == [(done, 10) for done in range(2, 11)]


# --- the oracle ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nobody_who_has_the_same_offers_is_cheaper_than_the_oracle(seed: int):
    log = drifting(seed, 8)
    names = ["adaptive", "adaptive:0", "adaptive:0.3", "always+own", "never+own", "every:2+own", "backoff+own"]
    costs = {name: cost(each, log) for name, each in contenders(log, policies(*names), with_oracle=True).items()}
    least = costs.pop("oracle")
    assert all(least <= each for each in costs.values()), (least, costs)
    assert least < min(costs.values())


def test_the_oracle_plays_by_everybodys_rules(log: WatchLog, ended: dict[str, Contender]):
    oracle = ended["oracle"]
    asked = sum(step.result.llm_calls + step.result.reused for step in oracle.steps)
    assert 0 < sum(calls(oracle)) <= asked
    assert sum(step.result.rows_invalid for step in oracle.steps) == 0
    assert figures(oracle, log)[SCORED] == figures(ended["never"], log)[SCORED]


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_panes", [1, 2])
def test_a_log_that_ends_with_its_first_window_is_refused(n_panes: int):
    log = drifting(0, n_panes)
    with pytest.raises(RequestError, match=f"the log has {n_panes} panes, and the first window takes 2") as refused:
        contenders(log, policies("never"))
    assert (refused.value.place, refused.value.exit_code) == ("--window", 2)
    assert "longer log" in refused.value.mend


def test_a_log_without_a_transition_after_its_first_window_is_refused():
    alone = log_of([{(0, 1, 2): 5}, {(0, 1, 2): 5}, {(0, 1, 2): 5}])
    of_pane = alone.watches.times_ms // PANE_MS == FIRST_PANE + 2
    lonely = replace(alone, watches=replace(alone.watches, users=np.where(of_pane, np.arange(45), 0).astype(np.uint64)))
    with pytest.raises(RequestError, match="no transition comes after the first window") as refused:
        contenders(lonely, policies("never"), with_oracle=True)
    assert "--gap" in refused.value.mend


def test_one_pane_after_the_first_window_is_enough():
    ended = contenders(drifting(0, 3), policies("adaptive"), with_oracle=True)
    assert [len(each.steps) for each in ended.values()] == [1, 1]


def test_clusters_that_are_named_later_are_borne():
    """Without a catalogue, a cluster of the last panes has no id before."""
    panes: list[Log] = [{(0, 1, 2): 9, (3, 1, 2): 9}] * 3 + [{(0, 1, 5): 9, (6, 1, 5): 9, (5, 6, 7): 4}] * 3
    log = log_of(panes, knows_all=False)
    assert log.n_known.tolist() == [4, 4, 4, 7, 7, 7]
    ended = contenders(log, policies(*NAMES), with_oracle=True)
    assert figures(ended["adaptive"], log)[HITS_NEXT] >= 9 * 2


# --- no look-ahead -------------------------------------------------------------------------------------------------
#
# Two checks, and leaks that are planted to see that they catch them. The first changes all that comes after a pane and
# demands that nothing changes up to it. It is blind to who is scored on what he has seen already: for that the second
# has a log whose panes say nothing of each other, where only he hits who has seen the pane itself.


@dataclass
class Spied:
    """A policy, and all that it answered, by pane."""

    policy: Policy
    plans: dict[int, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.policy.name

    def plan(self, view: View) -> Plan:
        plan = self.policy.plan(view)
        arrays = [plan.pairs, plan.retrieved.clusters, plan.retrieved.shares, plan.backoff_c2]
        arrays += [plan.backoff.clusters, plan.backoff.shares] if plan.backoff else []
        told = [plan.order, plan.inputs, plan.explanation, plan.state, [each.tobytes() for each in arrays]]
        self.plans[view.pane] = msgspec.msgpack.encode(told)
        return plan


def traces(log: WatchLog, kind: type[Backtest], panes: type[LogPanes]) -> dict[str, dict[int, Any]]:
    """Say what everybody decided at each pane's end, and what he scored in it.

    But for sequence hits, which are by definition known later: a later cluster of the sequence counts, too.
    """
    spied = [Spied(policy) for policy in policies("adaptive", "always+own", "every:2", "cusum", "cara", "backoff")]
    ended = contenders(log, spied, kind=kind, panes=panes)
    told: dict[str, dict[int, Any]] = {}
    for each in spied:
        contender, told[each.name] = ended[each.name], {}
        for pane in range(log.first_pane, log.last_pane + 1):
            stats, served = contender.sequences.stats.of_pane(pane), contender.served.get(pane)
            scored = [int(stats[at]) for at in (TRANSITIONS, SCORED, ANSWERED, HITS_NEXT, HIT_MICROBITS)]
            told[each.name][pane] = (scored, None if served is None else served.tolist(), each.plans.get(pane))
    return told


def changed_after(log: WatchLog, pane: int) -> WatchLog:
    """Other users watch other clusters, at the same times."""
    watches = log.watches
    is_after = watches.times_ms // PANE_MS > pane
    rng = np.random.default_rng(pane)
    clusters = np.where(is_after, rng.integers(0, N_CLUSTERS, is_after.size), watches.clusters).astype(np.int32)
    users = np.where(is_after, watches.users // np.uint64(3), watches.users)
    return replace(log, watches=Watches(users, clusters, watches.times_ms))


def assert_nothing_is_known_of_what_comes(
    log: WatchLog, kind: type[Backtest] = Backtest, panes: type[LogPanes] = LogPanes
) -> None:
    expected = traces(log, kind, panes)
    for pane in (log.first_pane + WINDOW_PANES - 1, log.first_pane + 4, log.last_pane - 1):
        found = traces(changed_after(log, pane), kind, panes)
        for name, by_pane in expected.items():
            assert {at: found[name][at] for at in by_pane if at <= pane} == {
                at: told for at, told in by_pane.items() if at <= pane
            }, name
            assert any(found[name][at] != told for at, told in by_pane.items() if at > pane)


def assert_only_chance_hits_where_panes_say_nothing_of_each_other(
    kind: type[Backtest] = Backtest, panes: type[LogPanes] = LogPanes
) -> None:
    rng, logs = np.random.default_rng(4), list[Log]()
    for _ in range(12):
        successors = {(a, b): [c for c in range(N_CLUSTERS) if c not in (a, b)] for a, b in PAIRS}
        logs.append({(a, b, int(rng.choice(others))): 6 for (a, b), others in successors.items()})
    log = log_of(logs)
    compared = policies("adaptive:0.1", "always", "always+own", "every:2", "backoff", "popular")
    for name, each in contenders(log, compared, kind=kind, panes=panes).items():
        totals = figures(each, log)
        # One of six, by 28 pairs and 10 panes: a standard deviation is 0.022.
        assert totals[HITS_NEXT] / totals[SCORED] < 0.25, name


class EvidenceOfTomorrow(LogPanes):
    """A leak: the evidence holds the pane that is yet to be scored."""

    def facts(self, **flags: bool) -> Iterator[tuple[list[Watches], PaneFacts]]:
        all_of_them = list(super().facts(**flags))
        for at, (watches, facts) in enumerate(all_of_them):
            later = all_of_them[min(at + 1, len(all_of_them) - 1)][1]
            yield watches, replace(facts, evidence=later.evidence)


class WindowOfTomorrow(LogPanes):
    """A leak: the window is one pane ahead."""

    def facts(self, **flags: bool) -> Iterator[tuple[list[Watches], PaneFacts]]:
        all_of_them = list(super().facts(**flags))
        for at, (watches, facts) in enumerate(all_of_them):
            later = all_of_them[min(at + 1, len(all_of_them) - 1)][1]
            yield watches, replace(facts, window=later.window)


class DecidesFirst(Backtest):
    """A leak: everybody decides at the pane's end before he is scored by that pane."""

    def _step(self, contenders: Sequence[Contender], watches: list[Watches], facts: PaneFacts) -> None:
        for contender in contenders:
            contender.decide(facts)
            contender.watch(watches, facts)


Check = Callable[..., None]


def the_future_is_not_known(**leak: Any) -> None:
    assert_nothing_is_known_of_what_comes(drifting(0, 8), **leak)


def test_what_comes_after_a_pane_changes_nothing_up_to_it():
    the_future_is_not_known()


def test_only_chance_hits_where_panes_say_nothing_of_each_other():
    assert_only_chance_hits_where_panes_say_nothing_of_each_other()


@pytest.mark.parametrize(
    ("check", "leak"),
    [
        (the_future_is_not_known, {"panes": EvidenceOfTomorrow}),
        (the_future_is_not_known, {"panes": WindowOfTomorrow}),
        (assert_only_chance_hits_where_panes_say_nothing_of_each_other, {"panes": EvidenceOfTomorrow}),
        (assert_only_chance_hits_where_panes_say_nothing_of_each_other, {"panes": WindowOfTomorrow}),
        (assert_only_chance_hits_where_panes_say_nothing_of_each_other, {"kind": DecidesFirst}),
    ],
)
def test_a_leak_that_is_planted_is_caught(check: Check, leak: dict[str, Any]):
    with pytest.raises(AssertionError):
        check(**leak)
