"""The kernels of the evidence against plain Python."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.evidence.level import posterior, score_grid
from refresh.evidence.ranking import Ranked, rank_rows
from tidegate.hashing import mix64
from tidegate.jit import is_compiled

N_CLUSTERS, N_LENGTHS = 6, 3
STRENGTHS = [0.5, 4.0, 64.0]
LENGTHS = [1, 2, 8]


@dataclass(frozen=True)
class Entry:
    """One cluster of one group: counts by length now and before, in the newest pane, and the parent's share."""

    group: int
    cluster: int
    now: tuple[int, ...]
    before: tuple[int, ...]
    newest: int
    parent: float


counts = st.lists(st.integers(0, 9), min_size=N_LENGTHS, max_size=N_LENGTHS).map(lambda c: tuple(np.cumsum(c).tolist()))
cells = st.tuples(counts, counts, st.integers(0, 4), st.floats(0.001, 0.9))
tables = st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, N_CLUSTERS - 1)), cells, max_size=12).map(
    lambda found: [Entry(*key, *cell) for key, cell in sorted(found.items())]
)


def offsets_of(entries: list[Entry]) -> tuple[list[int], np.ndarray]:
    groups = sorted({entry.group for entry in entries})
    ends = [sum(entry.group <= group for entry in entries) for group in groups]
    return groups, np.array([0, *ends], np.int64)


def columns(entries: list[Entry]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([entry.now for entry in entries], np.int64).reshape(-1, N_LENGTHS),
        np.array([entry.before for entry in entries], np.int64).reshape(-1, N_LENGTHS),
        np.array([entry.newest for entry in entries], np.int64),
        np.array([entry.parent for entry in entries], np.float64),
    )


def of_group(entries: list[Entry], group: int) -> list[Entry]:
    return [entry for entry in entries if entry.group == group]


@settings(max_examples=100, deadline=None)
@given(tables)
def test_losses_are_the_bits_by_which_each_length_and_strength_fails_to_foretell(entries: list[Entry]) -> None:
    groups, offsets = offsets_of(entries)
    _, before, newest, parent = columns(entries)
    losses, n_scored = score_grid(offsets, before, newest, parent, np.array(STRENGTHS))
    assert n_scored == sum(entry.newest for entry in entries)
    for j in range(N_LENGTHS):
        for s, m in enumerate(STRENGTHS):
            expected = 0.0
            for group in groups:
                total = sum(entry.before[j] for entry in of_group(entries, group))
                for entry in of_group(entries, group):
                    expected -= entry.newest * math.log2((entry.before[j] + m * entry.parent) / (total + m))
            assert losses[j, s] == pytest.approx(expected, abs=1e-9)
    assert is_compiled(score_grid)


def posterior_in_plain_python(
    mine: list[Entry], m: float, prior: list[float]
) -> tuple[dict[int, float], float, float, float]:
    """Shares by cluster, rest, mass and reach of one group."""

    def share(count: int, total: int, parent: float) -> float:
        return (count + m * parent) / (total + m)

    weights = []
    for j in range(N_LENGTHS):
        total = sum(entry.before[j] for entry in mine)
        likelihood = math.prod(share(entry.before[j], total, entry.parent) ** entry.newest for entry in mine)
        weights.append(prior[j] * likelihood)
    weights = [weight / sum(weights) for weight in weights]
    totals = [sum(entry.now[j] for entry in mine) for j in range(N_LENGTHS)]
    shares = {
        entry.cluster: sum(w * share(entry.now[j], totals[j], entry.parent) for j, w in enumerate(weights))
        for entry in mine
    }
    rest = sum(w * m / (total + m) for w, total in zip(weights, totals, strict=True))
    mass = sum(w * total for w, total in zip(weights, totals, strict=True))
    return shares, rest, mass, sum(w * length for w, length in zip(weights, LENGTHS, strict=True))


@settings(max_examples=100, deadline=None)
@given(tables, st.sampled_from(STRENGTHS), st.lists(st.floats(0.05, 1), min_size=N_LENGTHS, max_size=N_LENGTHS))
def test_the_posterior_is_the_mean_over_lengths_by_how_well_each_foretold(
    entries: list[Entry], strength: float, prior: list[float]
) -> None:
    groups, offsets = offsets_of(entries)
    now, before, newest, parent = columns(entries)
    share = np.full(len(entries), np.nan)
    rest, mass, reach = (np.full(len(groups), np.nan) for _ in range(3))
    lengths = np.array(LENGTHS, np.int64)
    posterior(offsets, now, before, newest, parent, strength, np.array(prior), lengths, share, rest, mass, reach)
    at = 0
    for row, group in enumerate(groups):
        mine = of_group(entries, group)
        shares, *others = posterior_in_plain_python(mine, strength, prior)
        assert share[at : at + len(mine)] == pytest.approx([shares[entry.cluster] for entry in mine])
        assert [rest[row], mass[row], reach[row]] == pytest.approx(others)
        at += len(mine)
    assert is_compiled(posterior)


def test_a_posterior_does_not_underflow_where_a_pane_is_large() -> None:
    """Likelihoods of ten thousand transitions are below the smallest float."""
    now = before = np.array([[9_000, 9_000, 9_000], [1_000, 1_000, 5_000]], np.int64)
    share, rest, mass, reach = np.zeros(2), np.zeros(1), np.zeros(1), np.zeros(1)
    newest, parent = np.array([9_000, 1_000], np.int64), np.full(2, 0.5)
    lengths = np.array(LENGTHS, np.int64)
    posterior(np.array([0, 2]), now, before, newest, parent, 4.0, np.full(3, 1 / 3), lengths, share, rest, mass, reach)
    assert share.sum() == pytest.approx(1)
    assert share[0] == pytest.approx(0.9, abs=1e-3)
    assert reach[0] == pytest.approx(1.5)  # the first two lengths foretold alike, the third not at all


SHARES = [0.0, 0.125, 0.25, 0.5]


@settings(max_examples=200, deadline=None)
@given(
    own=st.dictionaries(st.integers(0, N_CLUSTERS - 1), st.sampled_from(SHARES), max_size=N_CLUSTERS),
    parent=st.dictionaries(st.integers(0, N_CLUSTERS - 1), st.sampled_from(SHARES), max_size=N_CLUSTERS),
    c1=st.integers(-1, N_CLUSTERS - 1),
    c2=st.integers(0, N_CLUSTERS - 1),
    is_known=st.booleans(),
    depth=st.integers(1, N_CLUSTERS),
    salt=st.integers(0, 9),
)
def test_a_row_ranks_its_own_entries_and_what_its_parent_has_beside_them(
    own: dict[int, float], parent: dict[int, float], c1: int, c2: int, is_known: bool, depth: int, salt: int
) -> None:
    seeds = np.array([mix64(np.uint64(salt * 100 + c)) for c in range(N_CLUSTERS)], np.uint64)
    rest = 0.5
    clusters = sorted(own)
    ranked_parent = sorted(parent, key=lambda c: -parent[c])
    out = Ranked.nothing(1, depth)
    rank_rows(
        np.array([c1], np.int32),
        np.array([c2], np.int32),
        np.array([0 if is_known else -1]),
        np.array([0, len(clusters)]),
        np.array(clusters, np.int32),
        np.array([own[c] for c in clusters], np.float64),
        np.array([rest]),
        np.zeros(1, np.int32),
        np.array([[*ranked_parent, -1]], np.int32),
        np.array([[*(parent[c] for c in ranked_parent), 0.0]], np.float64),
        seeds,
        out.clusters,
        out.shares,
    )

    def tie_hash(cluster: int) -> int:
        of_row = mix64(seeds[c2]) if c1 < 0 else mix64(mix64(seeds[c1]) ^ seeds[c2])
        return int(mix64(np.uint64(of_row) ^ seeds[cluster]))

    mine = own if is_known else {}
    shares = {c: share * (rest if is_known else 1.0) for c, share in parent.items()} | mine
    allowed = {c: share for c, share in shares.items() if c not in (c1, c2)}
    expected = sorted(allowed, key=lambda c: (-allowed[c], tie_hash(c)))[:depth]
    found = [c for c in out.clusters[0].tolist() if c >= 0]
    assert found == expected
    assert out.shares[0, : len(expected)].tolist() == [allowed[c] for c in expected]
    assert out.shares[0, len(expected) :].tolist() == [0.0] * (depth - len(expected))
    assert is_compiled(rank_rows)
