"""Evidence is a posterior that a dictionary can recompute, that learns from the stream, and that follows names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import product

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.evidence import Evidence, Memory, PaneSpans
from refresh.evidence.memory import STRENGTHS, choose
from tests.refresh.logs import N_CLUSTERS, NAMES, Log, counts_of, evidence_of, logs, seeds
from tidegate.counts import SuccessorCounts
from tidegate.hashing import cluster_seeds

LENGTHS = (1, 2, 4)
PAIR = 0 << 16 | 1
streams = st.lists(logs, min_size=1, max_size=6)
none_yet = Memory()


def added(panes: Sequence[Log]) -> Log:
    total: Counter[tuple[int, int, int]] = Counter()
    for pane in panes:
        total.update(pane)
    return dict(total)


def learning(panes: Sequence[Log], window_panes: int = 2) -> Evidence:
    """Go over panes as a run does, each remembering what the one before learned."""
    memory = none_yet
    for at in range(1, len(panes) + 1):
        evidence = evidence_of(panes[:at], LENGTHS, memory, window_panes)
        memory = evidence.learned
    return evidence


# --- by definition -------------------------------------------------------------------------------------------------


def popularity(log: Log, cluster: int) -> float:
    return (sum(n for (_, _, c), n in log.items() if c == cluster) + 0.5) / (sum(log.values()) + 0.5 * N_CLUSTERS)


def shrunk(log: Log, group: tuple[int, ...], cluster: int, parent: float, m: float) -> float:
    """(n + m parent) / (N + m) of a pair, or of c2 alone."""
    of_group = {triple: n for triple, n in log.items() if triple[2 - len(group) : 2] == group}
    own = sum(n for (_, _, c), n in of_group.items() if c == cluster)
    return (own + m * parent) / (sum(of_group.values()) + m)


@settings(max_examples=25, deadline=None)
@given(logs)
def test_a_share_is_the_posterior_mean_that_a_dictionary_gives(log: Log):
    evidence = Evidence.of_counts(counts_of(log), seeds())
    for a, b, c in log:
        prior = shrunk(log, (b,), c, popularity(log, c), evidence.cluster_setting.strength)
        expected = shrunk(log, (a, b), c, prior, evidence.pair_setting.strength)
        found = evidence.share(np.array([a << 16 | b]), np.array([c], np.int32))[0]
        assert found == pytest.approx(expected)
        assert evidence.backoff_share(np.array([b], np.int32), np.array([c], np.int32))[0] == pytest.approx(prior)


@settings(max_examples=25, deadline=None)
@given(streams)
def test_shares_of_a_pair_over_all_clusters_add_up_to_one(panes: list[Log]):
    evidence = learning(panes)
    everything = np.arange(N_CLUSTERS, dtype=np.int32)
    for pair in (*evidence.seen_pairs[:5].tolist(), 6 << 16 | 7):
        assert evidence.share(np.full(N_CLUSTERS, pair), everything).sum() == pytest.approx(1)
        of_c2 = evidence.backoff_share(np.full(N_CLUSTERS, pair & 0xFFFF, np.int32), everything)
        assert of_c2.sum() == pytest.approx(1)
    assert evidence.popularity.sum() == pytest.approx(1)


def losses_by_definition(panes: list[Log], memory: Memory) -> dict[str, list[list[float]]]:
    """Bits by which each length and strength fails to foretell the newest pane from those before it."""
    *past, newest = panes
    window = LENGTHS.index(2)
    by_length = [added(past[-length:]) for length in LENGTHS]
    popular = by_length[(choose(memory.popularity) or (window, 0.0))[0]]
    length, m2 = choose(memory.clusters) or (window, 10.0)
    losses: dict[str, list[list[float]]] = {
        "popularity": [
            [-sum(n * math.log2(popularity(log, c)) for (_, _, c), n in newest.items())] for log in by_length
        ]
    }

    def bits(log: Log, m: float, by_pair: bool) -> float:
        total = 0.0
        for (a, b, c), n in newest.items():
            parent = popularity(popular, c)
            group: tuple[int, ...] = (b,)
            if by_pair:
                parent, group = shrunk(by_length[length], (b,), c, parent, m2), (a, b)
            total -= n * math.log2(shrunk(log, group, c, parent, m))
        return total

    losses["clusters"] = [[bits(log, m, False) for m in STRENGTHS] for log in by_length]
    losses["pairs"] = [[bits(log, m, True) for m in STRENGTHS] for log in by_length]
    return losses


@settings(max_examples=25, deadline=None)
@given(st.lists(logs, min_size=2, max_size=5), st.booleans())
def test_what_is_learned_of_a_pane_is_how_it_was_foretold_from_those_before_it(panes: list[Log], has_memory: bool):
    memory = learning(panes[:-1]).learned if has_memory else none_yet
    learned = evidence_of(panes, LENGTHS, memory, 2).learned
    fresh = losses_by_definition(panes, memory)
    fade = None
    for level in ("popularity", "clusters", "pairs"):
        kept, found = getattr(memory, level), np.array(getattr(learned, level))
        remainder = found - np.array(fresh[level])
        if not np.any(kept):
            assert remainder == pytest.approx(np.zeros_like(found), abs=1e-8)
            continue
        # What is left of the past is the same share of everything, below one.
        ratio = (remainder / np.array(kept)).ravel()
        fade = ratio[0] if fade is None else fade
        assert ratio == pytest.approx(np.full_like(ratio, fade))
        assert 0 < fade < 1


@settings(max_examples=25, deadline=None)
@given(st.lists(logs, min_size=1, max_size=4), logs, logs)
def test_nothing_is_scored_on_what_it_was_fitted_to(past: list[Log], one: Log, other: Log):
    """Losses of a pane add up over its transitions: foretelling them has not looked at any of them."""
    memory = learning(past).learned

    def fresh(newest: Log, level: str) -> np.ndarray:
        blank = np.array(getattr(evidence_of([*past, {}], LENGTHS, memory, 2).learned, level))
        return np.array(getattr(evidence_of([*past, newest], LENGTHS, memory, 2).learned, level)) - blank

    for level in ("popularity", "clusters", "pairs"):
        both = fresh(added([one, other]), level)
        assert both == pytest.approx(fresh(one, level) + fresh(other, level), abs=1e-7)


def test_a_first_pane_teaches_nothing_and_is_fitted_instead():
    evidence = evidence_of([{(0, 1, 2): 9}], LENGTHS, None, 2)
    assert choose(evidence.learned.pairs) is None
    assert evidence.pair_setting.length == LENGTHS.index(2)
    assert evidence.pair_setting.strength > 0


# --- ranking -------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(streams)
def test_the_first_rank_has_the_largest_share_of_all_allowed_clusters(panes: list[Log]):
    evidence = learning(panes)
    pairs = evidence.seen_pairs
    best = evidence.rank(pairs, 3)
    for row, pair in enumerate(pairs.tolist()):
        a, b = pair >> 16, pair & 0xFFFF
        others = np.array([c for c in range(N_CLUSTERS) if c not in (a, b)], np.int32)
        shares = evidence.share(np.full(others.shape, pair), others)
        assert not {a, b} & set(best.clusters[row].tolist())
        assert best.shares[row] == pytest.approx(sorted(shares, reverse=True)[:3])
        assert evidence.share(np.full(3, pair), best.clusters[row]) == pytest.approx(best.shares[row])


def test_cluster_minus_one_has_no_share():
    evidence = Evidence.of_counts(counts_of({(0, 1, 2): 9}), seeds())
    assert evidence.share(np.array([PAIR]), np.array([-1], np.int32)).tolist() == [0.0]
    assert evidence.backoff_share(np.array([1], np.int32), np.array([-1], np.int32)).tolist() == [0.0]


def test_an_unseen_pair_gets_its_backoff():
    evidence = Evidence.of_counts(counts_of({(0, 1, 2): 5, (0, 1, 3): 2}), seeds())
    assert evidence.rank(np.array([4 << 16 | 1]), 2).clusters.tolist() == [[2, 3]]
    assert evidence.rank(np.array([2 << 16 | 1]), 1).clusters.tolist() == [[3]]  # never c1
    unseen = evidence.share(np.array([4 << 16 | 1]), np.array([2], np.int32))
    assert unseen == evidence.backoff_share(np.array([1], np.int32), np.array([2], np.int32))
    assert evidence.pairs.mass_of(np.array([4 << 16 | 1])).tolist() == [0.0]


def test_an_unseen_cluster_gets_what_is_popular():
    evidence = Evidence.of_counts(counts_of({(0, 1, 2): 5, (0, 1, 3): 2}), seeds())
    assert evidence.backoff(2).clusters[6].tolist() == [2, 3]
    assert evidence.backoff(2).clusters[2].tolist()[0] == 3  # never c2


def test_depth_is_the_callers():
    evidence = Evidence.of_counts(counts_of({(0, 1, 2): 5}), seeds())
    assert evidence.rank(np.array([PAIR]), 4).clusters.shape == (1, 4)
    assert evidence.backoff(3).shares.shape == (N_CLUSTERS, 3)


def test_traffic_is_that_of_a_window_by_pane():
    panes = [{(0, 1, 2): 90}, {(0, 1, 2): 2, (4, 1, 3): 1}, {(0, 1, 2): 4}]
    evidence = evidence_of(panes, LENGTHS, None, 2)
    assert evidence.traffic(np.array([PAIR, 4 << 16 | 1, 7])).tolist() == [3.0, 0.5, 0.0]
    young = evidence_of(panes[:1], LENGTHS, None, 2)
    assert young.traffic(np.array([PAIR])).tolist() == [90.0]


def test_no_transitions_at_all_are_borne():
    evidence = Evidence.of_counts(SuccessorCounts.empty(), seeds())
    assert evidence.rank(np.array([PAIR]), 1).shares[0, 0] == pytest.approx(1 / N_CLUSTERS)
    assert evidence.traffic(np.array([7])).tolist() == [0.0]
    assert evidence.seen_pairs.size == 0
    assert evidence.learned == evidence_of([{}], (1,)).learned
    nobody = Evidence.of_counts(SuccessorCounts.empty(), seeds(0))
    assert nobody.rank(np.zeros(0, np.int64), 2).clusters.shape == (0, 2)


# --- learning from the stream --------------------------------------------------------------------------------------

EVERYBODY: Log = {(a, 1, 3): 20 for a in (4, 5, 6, 7)}


def test_alike_pairs_are_shrunk_hard_and_unlike_pairs_hardly():
    """Pairs of one c2 that all go on alike, and pairs of which each has a successor of its own."""
    rng = np.random.default_rng(0)
    alike: list[Log] = [{} for _ in range(4)]
    unlike: list[Log] = [{} for _ in range(4)]
    for a, b, pane in product(range(2, 6), (0, 1), range(4)):
        successors = (6, 7, 1 - b)
        unlike[pane][a, b, successors[(a + b) % 3]] = 12
        for c, n in zip(successors, rng.multinomial(12, [0.5, 0.3, 0.2]).tolist(), strict=True):
            if n:
                alike[pane][a, b, c] = n
    for n_panes in (1, 4):  # fitted, and learned
        hard, hardly = (learning(panes[:n_panes]).pair_setting.strength for panes in (alike, unlike))
        assert hard > 10
        assert hardly < 2


def test_a_pair_that_drifts_forgets_its_past_and_a_stable_neighbour_keeps_its_own():
    drifting, stable = 0 << 16 | 1, 2 << 16 | 1
    before: Log = {(0, 1, 4): 15, (2, 1, 5): 15} | EVERYBODY
    after: Log = {(0, 1, 6): 15, (2, 1, 5): 15} | EVERYBODY
    evidence = learning([before, before, before, before, after])
    assert evidence.rank(np.array([drifting, stable]), 1).clusters.ravel().tolist() == [6, 5]
    reach = evidence.pairs.reach_of(np.array([drifting, stable]))
    assert reach[0] < reach[1]
    mass = evidence.pairs.mass_of(np.array([drifting, stable]))
    assert mass[0] < mass[1]
    shares = evidence.share(np.array([drifting, stable]), np.array([6, 5], np.int32))
    assert shares.min() > 0.5


def test_a_stream_that_stays_is_looked_at_for_longer_than_one_that_turns():
    rng = np.random.default_rng(2)
    pairs = [(a, b) for a in range(N_CLUSTERS) for b in range(N_CLUSTERS) if a != b]

    def pane(turns: int) -> Log:
        log: Log = {}
        for a, b in pairs:
            others = [c for c in range(N_CLUSTERS) if c not in (a, b)]
            for _ in range(3):
                likely = others[(a + b + turns) % len(others)]
                c = likely if rng.random() < 0.7 else int(rng.choice(others))
                log[a, b, c] = log.get((a, b, c), 0) + 1
        return log

    stays, turns = (learning([pane(turn * step) for turn in range(7)]) for step in (0, 1))
    assert stays.pair_setting.length > turns.pair_setting.length
    assert LENGTHS[turns.pair_setting.length] == 1


# --- resuming ------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(logs, min_size=2, max_size=6), st.data())
def test_going_on_from_a_stored_memory_is_going_on_to_the_bit(panes: list[Log], data: st.DataObject):
    crashed_at = data.draw(st.integers(1, len(panes) - 1))
    memory = learning(panes[:crashed_at]).learned
    memory = msgspec.json.decode(msgspec.json.encode(memory), type=Memory)
    for at in range(crashed_at + 1, len(panes) + 1):
        resumed = evidence_of(panes[:at], LENGTHS, memory, 2)
        memory = resumed.learned
    expected = learning(panes)
    assert memory == expected.learned
    assert resumed.pair_setting == expected.pair_setting
    for one, other in ((resumed.pairs, expected.pairs), (resumed.clusters, expected.clusters)):
        assert one.share.tobytes() == other.share.tobytes()
        assert one.reach.tobytes() == other.reach.tobytes()
    ranks = [each.rank(each.seen_pairs, 3) for each in (resumed, expected)]
    assert ranks[0].clusters.tobytes() == ranks[1].clusters.tobytes()


# --- names and ids -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(logs, min_size=1, max_size=4), st.permutations(range(N_CLUSTERS)))
def test_other_ids_for_the_same_names_change_nothing(panes: list[Log], ids: list[int]):
    renamed = [""] * N_CLUSTERS
    for old, new in enumerate(ids):
        renamed[new] = NAMES[old]
    memories = [none_yet, none_yet]
    for at in range(1, len(panes) + 1):
        moved = [{(ids[a], ids[b], ids[c]): n for (a, b, c), n in pane.items()} for pane in panes[:at]]
        both = [
            Evidence(PaneSpans.of_panes([counts_of(p) for p in log], LENGTHS), cluster_seeds(list(names)), memory, 2)
            for log, names, memory in zip((panes[:at], moved), (NAMES, renamed), memories, strict=True)
        ]
        memories = [each.learned for each in both]
    one, other = both
    assert one.pair_setting.length == other.pair_setting.length
    assert one.pair_setting.strength == pytest.approx(other.pair_setting.strength, rel=1e-5)
    pairs = one.seen_pairs
    found = one.rank(pairs, 3)
    as_moved = np.array([ids[int(p) >> 16] << 16 | ids[int(p) & 0xFFFF] for p in pairs], np.int64)
    expected = other.rank(as_moved, 3)
    assert found.shares == pytest.approx(expected.shares, rel=1e-6)
    for mine, theirs, shares in zip(found.clusters, expected.clusters, found.shares, strict=True):
        if np.all(np.diff(shares) < -1e-9):  # apart by more than rounding
            assert [NAMES[c] for c in mine] == [renamed[c] for c in theirs]


def test_ties_follow_names_and_not_ids():
    log: Log = {(0, 1, 2): 1, (0, 1, 3): 1, (0, 1, 4): 1, (0, 1, 5): 1}
    order = np.random.default_rng(3).permutation(N_CLUSTERS)
    renamed = [""] * N_CLUSTERS
    for old, new in enumerate(order):
        renamed[new] = NAMES[old]
    moved = {tuple(int(order[c]) for c in triple): n for triple, n in log.items()}
    one = Evidence.of_counts(counts_of(log), cluster_seeds(list(NAMES)))
    other = Evidence.of_counts(counts_of(moved), cluster_seeds(renamed))
    mine = one.rank(np.array([PAIR]), 4).clusters[0]
    theirs = other.rank(np.array([int(order[0]) << 16 | int(order[1])]), 4).clusters[0]
    assert [NAMES[c] for c in mine] == [renamed[c] for c in theirs]
    assert [NAMES[c] for c in one.backoff(4).clusters[1]] == [renamed[c] for c in other.backoff(4).clusters[order[1]]]
