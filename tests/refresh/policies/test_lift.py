"""What weights know beyond the counts, as it is learned from rows that served."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.evidence import Evidence
from refresh.policies import PolicyState
from refresh.policies.lift import CLASSES, Lift, Lifts, classes_of, lift_inputs, observed, own_shares
from refresh.table import TransitionTable
from refresh.table_rows import PairRows
from tests.refresh.logs import N_CLUSTERS, NAMES, Log, evidence_of, logs

Row = tuple[int, int, int, int]
"""c1, c2, the row's answer, and the line that it was asked with."""

rows_of_tables = st.lists(
    st.tuples(*[st.integers(0, N_CLUSTERS - 1)] * 4).filter(lambda row: len(set(row[:3])) == 3),
    unique_by=lambda row: row[:2],
    max_size=12,
)


def table_of(rows: list[Row]) -> TransitionTable:
    ordered = sorted(rows)
    made = PairRows(
        pairs=np.array([c1 << 16 | c2 for c1, c2, _, _ in ordered], np.int64),
        clusters=np.array([[answer] for *_, answer, _ in ordered], np.int32).reshape(-1, 1),
        probabilities=np.full((len(rows), 1), 0.5, np.float32),
        row_keys=np.ones((len(rows), 2), np.uint64),
        contexts=np.array([line for *_, line in ordered], np.int32),
        refreshed_ms=np.zeros(len(rows), np.int64),
    )
    return TransitionTable.empty(NAMES, top_n=1).with_changes(made)


def seen_plainly(before: list[Lift], rows: list[Row], newest: Log, evidence: Evidence, half_life: float) -> list[Lift]:
    """The same in plain Python."""
    strength = evidence.pair_setting.strength
    sums = [dict.fromkeys(("n", "n_left", "hits", "line_hits", "spread"), 0.0) for _ in CLASSES]
    for at, lift in enumerate(before):
        for name in sums[at]:
            sums[at][name] = getattr(lift, name) * 0.5 ** (1 / half_life)
    for c1, c2, answer, line in rows:
        n = sum(count for (a, b, _), count in newest.items() if (a, b) == (c1, c2))
        if not n:
            continue
        mass = max(0.0, float(evidence.pairs.mass_of(np.array([c1 << 16 | c2]))[0]) - n)
        own = mass / (mass + strength)
        of_class = sums[sum(own >= bound for bound in (1 / 16, 1 / 8, 1 / 4))]
        of_class["n"] += n
        if answer != line:
            hits, line_hits = newest.get((c1, c2, answer), 0), newest.get((c1, c2, line), 0)
            of_class["n_left"] += n
            of_class["hits"] += hits
            of_class["line_hits"] += line_hits
            of_class["spread"] += (hits - line_hits) ** 2
    return [Lift(**each) for each in sums]


@settings(max_examples=30, deadline=None)
@given(logs, logs, rows_of_tables, st.integers(0, 300))
def test_what_rows_did_is_summed_up_as_in_plain_python(past: Log, newest: Log, rows: list[Row], n_before: int):
    before = [Lift(n=n_before, n_left=n_before / 2, hits=at, line_hits=1.0, spread=9.0) for at in range(len(CLASSES))]
    evidence = evidence_of([past, newest])
    found = observed(before, table_of(rows), evidence, 6.0)
    expected = seen_plainly(before, rows, newest, evidence, 6.0)
    for one, other in zip(found, expected, strict=True):
        assert msgspec.structs.astuple(one) == pytest.approx(msgspec.structs.astuple(other))


@settings(max_examples=20, deadline=None)
@given(logs, logs, rows_of_tables, st.floats(0, 3))
def test_answers_that_are_their_lines_have_no_lift(past: Log, newest: Log, rows: list[Row], z: float):
    as_lines = [(c1, c2, answer, answer) for c1, c2, answer, _ in rows]
    lifts = observed((), table_of(as_lines), evidence_of([past, newest]), 6.0)
    assert [(lift.n_left, lift.hits, lift.line_hits, lift.spread) for lift in lifts] == [(0.0,) * 4] * len(CLASSES)
    assert not Lifts.of(lifts, lifts, z).added.any()


@settings(max_examples=20, deadline=None)
@given(logs, logs, rows_of_tables, st.permutations(range(N_CLUSTERS)))
def test_the_numbering_of_clusters_changes_nothing(past: Log, newest: Log, rows: list[Row], new: list[int]):
    """Masses are given by the log; how ties between lines go is not asked here."""

    def renamed(log: Log) -> Log:
        return {(new[a], new[b], new[c]): n for (a, b, c), n in log.items()}

    found = observed((), table_of(rows), evidence_of([past, newest]), 6.0)
    moved = [(new[a], new[b], new[c], new[d]) for a, b, c, d in rows]
    other = observed((), table_of(moved), evidence_of([renamed(past), renamed(newest)]), 6.0)
    assert sum(lift.n for lift in found) == sum(lift.n for lift in other)
    assert sum(lift.hits - lift.line_hits for lift in found) == sum(lift.hits - lift.line_hits for lift in other)


def test_rows_without_a_line_or_without_an_answer_say_nothing_of_lines():
    newest: Log = {(0, 1, 2): 7}
    for row in ((0, 1, 2, -1), (0, 1, -1, 2)):
        lifts = observed((), table_of([row]), evidence_of([newest, newest]), 6.0)
        assert sum(lift.n for lift in lifts) == 0.0


@pytest.mark.parametrize("table", [None, TransitionTable.empty(NAMES, top_n=1)])
def test_without_rows_what_is_known_fades(table: TransitionTable | None):
    before = [Lift(n=80.0, n_left=40.0, hits=20.0, line_hits=10.0, spread=30.0)] * len(CLASSES)
    found = observed(before, table, evidence_of([{(0, 1, 2): 7}]), 1.0)
    assert found == (Lift(n=40.0, n_left=20.0, hits=10.0, line_hits=5.0, spread=15.0),) * len(CLASSES)


def test_bounds_are_those_of_the_page():
    lift = Lift(n=950.0, n_left=400.0, hits=100.0, line_hits=36.0, spread=144.0)
    assert lift.bound(0.0) == pytest.approx(64 / 1_000)
    assert lift.bound(1.0) == pytest.approx((64 - 12) / 1_000)
    assert lift.rate(0.0) == pytest.approx(100 / 450)
    assert lift.rate(2.0) == pytest.approx((100 - 2 * math.sqrt(100)) / 450)


@given(st.floats(0, 1e6), st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1e6), st.floats(0, 3), st.floats(0, 3))
def test_to_be_surer_never_raises_a_bound_and_none_is_below_nothing(
    n: float, hits: float, line_hits: float, spread: float, one: float, other: float
):
    lift = Lift(n=n, n_left=n / 2, hits=hits, line_hits=line_hits, spread=spread)
    low, high = sorted((one, other))
    assert lift.bound(low) >= lift.bound(high) >= 0.0
    assert lift.rate(low) >= lift.rate(high) >= 0.0


def test_before_anything_was_seen_nothing_is_believed():
    lifts = Lifts.of((), (), 0.25)
    assert lifts.added.tolist() == lifts.rates.tolist() == [0.0] * len(CLASSES)


def test_classes_go_by_the_part_that_is_a_pairs_own():
    assert classes_of(np.array([0.0, 0.06, 1 / 16, 0.12, 0.125, 0.2, 0.25, 0.9])).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    evidence = evidence_of([{(0, 1, 2): 40, (4, 1, 3): 1}])
    pairs = np.array([0 << 16 | 1, 4 << 16 | 1, 6 << 16 | 1])
    own = own_shares(evidence, pairs)
    assert own[0] > own[1] > own[2] == 0.0
    assert own_shares(evidence, pairs, without=np.array([40, 5, 0])).tolist() == [0.0, 0.0, 0.0]


def test_inputs_say_what_is_known_and_by_how_many_transitions():
    lifts = (Lift(n=350.0, n_left=100.0, hits=60.0, line_hits=20.0, spread=0.0), *[Lift()] * (len(CLASSES) - 1))
    inputs = lift_inputs(lifts, Lifts.of(lifts, lifts, 1.0))
    assert inputs["lift_scarce"] == pytest.approx(0.1)
    assert inputs["lift_scarce_transitions"] == 350.0
    assert (inputs["lift_dense"], inputs["lift_dense_transitions"]) == (0.0, 0.0)


def test_a_state_from_before_there_were_lifts_is_read():
    old = msgspec.json.encode({"expected_hits": 3.0, "calls": [[8, 4]]})
    assert msgspec.json.decode(old, type=PolicyState) == PolicyState(expected_hits=3.0, calls=((8, 4),))
    state = PolicyState(lifts=(Lift(n=3.0, hits=1.0),))
    assert msgspec.json.decode(msgspec.json.encode(state), type=PolicyState) == state
