"""A world of groups: what follows a pair follows from the group of its first cluster, which may change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.worlds import WORLDS, DayOfEvents, Drift, DriftKind, World, expected_drift
from stream.worlds.relations import make_relations
from tidegate.errors import ConfigError

WORLD = WORLDS["relations"]
C = WORLD.n_clusters


def successors_without(row: np.ndarray, *clusters: int) -> list[int]:
    return [cluster for cluster in row.tolist() if cluster not in clusters]


def test_pairs_whose_first_clusters_are_of_one_group_are_followed_alike_and_others_otherwise() -> None:
    relations = make_relations(WORLD, np.random.default_rng(0))
    rows = relations.successors(relations.group).reshape(C, C, -1)
    first, second = np.flatnonzero(relations.group == 0)[:2]
    other = int(np.flatnonzero(relations.group == 1)[0])
    one, same = successors_without(rows[first, 5], first, second), successors_without(rows[second, 5], first, second)
    assert one[:20] == same[:20]
    assert one[:5] != successors_without(rows[other, 5], first, second)[:5]


def test_no_pair_is_followed_by_its_own_clusters() -> None:
    relations = make_relations(WORLD, np.random.default_rng(0))
    rows = relations.successors(relations.group)
    pairs = np.arange(C * C)
    assert not (rows == (pairs // C)[:, None]).any()
    assert not (rows == (pairs % C)[:, None]).any()
    assert all(len(set(row)) == len(row) for row in rows[:200].tolist())
    assert not (relations.visited() == np.arange(C)[:, None]).any()


def test_half_way_nearly_all_clusters_are_followed_by_what_follows_another_group() -> None:
    (planted,) = expected_drift(WORLD)
    assert 0.8 < planted.traffic_share <= 0.9
    assert planted.drift.days(WORLD.days) == (9, 9)
    assert (planted.before[:, 0] != planted.after[:, 0]).mean() > 0.7  # some groups begin alike
    first: dict[int, set[int]] = {cluster: set() for cluster in np.unique(planted.pairs[:, 0]).tolist()}
    for pair, after in zip(planted.pairs.tolist(), planted.after.tolist(), strict=True):
        first[pair[0]].add(after[0])
    assert max(len(found) for found in first.values()) <= 3  # one, or the next where that is c2


def test_the_second_cluster_says_little_of_what_follows() -> None:
    before = WORLD.interests.before.reshape(C, C, -1)[:, :, 0]
    shares = [np.bincount(before[:, c2]).max() / C for c2 in range(C)]
    assert max(shares) <= 0.5


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"n_groups": 1}, "n_groups"),
        ({"n_groups": 65}, "n_groups"),
        ({"n_groups": 0}, "2 or more where relations change"),
    ],
)
def test_groups_that_cannot_be_are_refused(changed: dict[str, int], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        replace(WORLD, **changed)


def test_relations_change_at_one_midnight() -> None:
    change = Drift(DriftKind.RELATIONS, traffic_share=0.5, start=0.5)
    assert [change.weight(day, 4) for day in range(4)] == [0, 0, 1, 1]
    flat, moved = (replace(WORLD, days=4, sessions_per_day=100, drifts=drifts) for drifts in ((), (change,)))
    same = [a.cluster.tobytes() == b.cluster.tobytes() for a, b in zip(days(flat), days(moved), strict=True)]
    assert same == [True, True, False, False]


def days(world: World) -> list[DayOfEvents]:
    return list(world.days_of_events())
