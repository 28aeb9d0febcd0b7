"""Hits of two tables compared: on equal terms, and with their noise."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.gates import GateBounds, Support
from refresh.gates.hit_rate import compare_hits, hit_rate
from refresh.table import TransitionTable
from tests.refresh.gates.test_gates import Cells, counts_of
from tests.tables import small_table
from tidegate.counts import BucketedCounts
from tidegate.hashing import mix64

N_BUCKETS = 64
cells = st.dictionaries(
    st.tuples(*[st.integers(0, 4)] * 3, st.integers(0, 3)).filter(lambda cell: len(set(cell[:3])) == 3),
    st.integers(1, 5),
    max_size=30,
)
answers = st.dictionaries(
    st.sampled_from([(a, b) for a, b in product(range(5), range(5)) if a != b]), st.integers(0, 4), max_size=8
)


def table_of(rows: dict[tuple[int, int], int], backoff: dict[int, int] | None = None) -> TransitionTable:
    return small_table(
        {pair: (answer,) for pair, answer in rows.items() if answer not in pair},
        {c2: (answer,) for c2, answer in (backoff or {}).items() if answer != c2},
    )


def plainly(
    candidate: TransitionTable, serving: TransitionTable, newest: Cells, window: Cells, strength: float
) -> dict[int, float]:
    """Difference of hits by bucket, as the module's text says."""
    differences: dict[int, float] = {}
    for (c1, c2, c_next, bucket), n in newest.items():
        pair = np.array([c1], np.int32), np.array([c2], np.int32)
        mine, theirs = int(candidate.predict(*pair)[0]), int(serving.predict(*pair)[0])
        if mine == theirs:
            continue
        has_row = candidate.rows_of(np.array([c1 << 16 | c2]))[0] >= 0
        worth = worth_of(c1 if has_row else None, c2, mine, bucket, window, strength) if mine == c_next else 0.0
        differences[bucket] = differences.get(bucket, 0.0) + n * (worth - (theirs == c_next))
    return differences


def worth_of(c1: int | None, c2: int, line: int, bucket: int, window: Cells, strength: float) -> float:
    """Hold a bucket's transitions to the line out (tables of these tests read the line that they answer)."""
    total = sum(n for (_, b, _, _), n in window.items() if b == c2)

    def score(cluster: int, *, but: int | None = None) -> float:
        of = [(a, n) for (a, b, c, at), n in window.items() if (b, c) == (c2, cluster) and at != but]
        pooled = sum(n for _, n in of)
        return pooled if c1 is None else sum(n for a, n in of if a == c1) + strength * pooled / max(total, 1)

    rival = max([score(cluster) for cluster in range(5) if cluster != line])
    left = score(line, but=bucket)
    if left > rival + 1e-9:
        return 1.0
    is_tied = abs(left - rival) <= 1e-9 and left > 1e-9
    return 0.5 if is_tied or score(line) < rival - 1e-9 else 0.0


@settings(deadline=None)
@given(
    newest=cells,
    older=cells,
    mine=answers,
    theirs=answers,
    backoffs=st.tuples(*[st.integers(0, 4)] * 4),
    strength=st.sampled_from([0.0, 0.5, 8.0]),
)
def test_the_comparison_is_what_a_plain_one_says(
    newest: Cells, older: Cells, mine: dict, theirs: dict, backoffs: tuple[int, ...], strength: float
) -> None:
    window = {cell: newest.get(cell, 0) + older.get(cell, 0) for cell in newest.keys() | older.keys()}
    candidate = table_of(mine, {1: backoffs[0], 2: backoffs[1]})
    serving = table_of(theirs, {1: backoffs[2], 2: backoffs[3]})
    found = compare_hits(candidate, serving, counts_of(newest), Support(counts_of(window), strength))
    expected = plainly(candidate, serving, newest, window, strength)
    assert found.hits == pytest.approx(sum(expected.values()))
    assert found.hits_deviation == pytest.approx(sum(each**2 for each in expected.values()) ** 0.5)


def test_a_hit_that_rests_on_its_own_user_is_none() -> None:
    window = counts_of({(0, 1, 2, 7): 9})
    found = compare_hits(table_of({(0, 1): 2}), table_of({(0, 1): 3}), window, Support(window))
    assert (found.hits, found.candidate_hits, found.serving_hits) == (0, 0, 0)


def test_a_hit_counts_once_others_support_its_line() -> None:
    window = counts_of({(0, 1, 2, 7): 1, (0, 1, 2, 8): 1, (0, 1, 4, 9): 1})
    found = compare_hits(table_of({(0, 1): 2}), table_of({(0, 1): 3}), window, Support(window))
    assert found.hits == 1.0  # each of the two would be tied without itself


def test_a_second_refresh_of_the_same_pane_holds_the_hits_of_both_out() -> None:
    window = counts_of({(0, 1, 2, 7): 9, (0, 1, 3, 8): 1})
    tables = table_of({(0, 1): 3}), table_of({(0, 1): 2})
    # The line 3 did not lead: its hit rests on something else, and is half one.
    assert compare_hits(*tables, window, Support(window)).hits == 0.5 - 9
    assert compare_hits(*tables, window, Support(window), serving_has_seen=True).hits == 0.5


def verdict_of(gained: list[int], bits_of: int = 2, bounds: GateBounds | None = None):
    """Judge a candidate that answers 2 against one that answers 3, where buckets gain or lose so many hits."""
    cells = {(0, 1, 2 if n > 0 else 3, bucket): abs(n) for bucket, n in enumerate(gained) if n}
    # The line 2 leads by what came before, so nothing is held out.
    window = {**cells, (0, 1, 2, 63): 10_000, (4, 0, bits_of, 62): 10_000}
    found = compare_hits(table_of({(0, 1): 2}), table_of({(0, 1): 3}), counts_of(cells), Support(counts_of(window)))
    return hit_rate(found, bounds or GateBounds())


def test_a_loss_beyond_chance_fails_and_one_within_passes() -> None:
    lost = verdict_of([-1] * 20)
    assert not lost.is_passed
    assert lost.found == pytest.approx(-(20**0.5))
    assert lost.required == -3.0
    assert "on the 20 transitions since the serving table was made it hits 1.0000" in lost.sentence
    assert verdict_of([-1] * 9).is_passed
    assert verdict_of([1] * 40).is_passed
    assert verdict_of([-1] * 20, bounds=GateBounds(hit_loss_z=5)).is_passed


def test_few_users_prove_nothing_however_many_hits_they_lose() -> None:
    assert verdict_of([-500]).is_passed


def test_information_that_is_lost_without_hits_in_return_fails() -> None:
    four = counts_of({(0, 1, 3, bucket): 1 for bucket in range(4)})
    found = compare_hits(table_of({(0, 1): 2}), table_of({(0, 1): 3}), four, Support(four))
    poorer = replace(found, bits=-50.0, bits_deviation=10.0)
    assert not hit_rate(replace(poorer, hits=2.0, hits_deviation=1.0), GateBounds()).is_passed
    assert hit_rate(replace(poorer, hits=4.0, hits_deviation=1.0), GateBounds()).is_passed
    assert hit_rate(replace(poorer, hits=2.0, hits_deviation=1.0), GateBounds()).found == -5.0


def test_no_transition_is_no_evidence() -> None:
    none = BucketedCounts.empty()
    verdict = hit_rate(compare_hits(small_table(), small_table(), none, Support(none)), GateBounds())
    assert (verdict.is_passed, verdict.found) == (True, None)


@pytest.mark.parametrize(("share_spoiled", "fails"), [(0.0, 0), (1.0, 1)])
def test_a_healthy_refresh_passes_in_most_of_many_worlds_and_a_spoiled_one_in_none(
    share_spoiled: float, fails: int
) -> None:
    """A refresh from the window, against the truth of long ago, where nothing has drifted: harmless; shuffled: not."""
    n_failed = 0
    for seed in range(30):
        generator = np.random.default_rng(mix64(seed))
        shares = 1.0 / np.arange(1, 21) ** 0.7
        draws = generator.choice(20, (30, 40), p=shares / shares.sum()) + 5
        buckets = generator.integers(0, N_BUCKETS, draws.shape)
        cells: Cells = {}
        for pair, (successors, users) in enumerate(zip(draws.tolist(), buckets.tolist(), strict=True)):
            for c_next, user in zip(successors, users, strict=True):
                key = (30 + pair, 2, c_next, user)
                cells[key] = cells.get(key, 0) + 1
        names = tuple(f"cluster {number}" for number in range(70))
        best = {(30 + pair, 2): (int(np.bincount(draws[pair]).argmax()),) for pair in range(30)}
        spoiled = {pair: (24,) if share_spoiled else answer for pair, answer in best.items()}
        serving = small_table(dict.fromkeys(best, (5,)), {}, names)
        window = counts_of(cells)
        found = compare_hits(small_table(spoiled, {}, names), serving, window, Support(window))
        n_failed += not hit_rate(found, GateBounds()).is_passed
    assert (n_failed <= 1) if not fails else (n_failed == 30)
