from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from stream.worlds import (
    WORLDS,
    DayOfEvents,
    Drift,
    DriftKind,
    World,
    expected_drift,
    world_named,
    write_log,
    write_truth,
)
from stream.worlds.draws import repeated_draws
from stream.worlds.settings import SECONDS_PER_DAY
from tidegate.errors import ConfigError, RequestError
from tidegate.jit import is_compiled

SESSION_GAP_S = 300
Int64s = NDArray[np.int64]


def small(name: str) -> World:
    return replace(WORLDS[name], days=4, sessions_per_day=300, n_users=400)


def all_events(world: World) -> DayOfEvents:
    days = list(world.days_of_events())
    names = ("user_id", "item_id", "cluster", "time_s", "engagement")
    return DayOfEvents(**{name: np.concatenate([getattr(day, name) for day in days]) for name in names})


def sessions_of(events: DayOfEvents) -> list[tuple[int, list[int]]]:
    """(day, clusters) of positive watches of one user, split at pauses that no session has."""
    positive = events.engagement >= 0.5
    users, clusters, times = (column[positive] for column in (events.user_id, events.cluster, events.time_s))
    order = np.lexsort((times, users))
    is_start = np.diff(users[order], prepend=-1) != 0
    is_start |= np.diff(times[order], prepend=0) > SESSION_GAP_S
    parts = np.split(clusters[order], np.flatnonzero(is_start)[1:])
    days = (times[order][is_start] - times.min()) // SECONDS_PER_DAY
    return list(zip(days.tolist(), (part.tolist() for part in parts), strict=True))


def successor_counts(world: World, days: range) -> Int64s:
    """Transitions on `days` by pair and successor, int64[C * C, C]."""
    n_clusters = world.n_clusters
    counts = np.zeros((n_clusters * n_clusters, n_clusters), np.int64)
    for day, clusters in sessions_of(all_events(world)):
        if day in days:
            for c1, c2, c_next in zip(clusters, clusters[1:], clusters[2:], strict=False):
                counts[c1 * n_clusters + c2, c_next] += 1
    return counts


def busiest(counts: Int64s, among: NDArray[np.bool_]) -> int:
    return int(np.argmax(np.where(among, counts.sum(axis=1), -1)))


def is_drifting(world: World) -> NDArray[np.bool_]:
    return world.interests.drift_of_pair < len(world.drifts)


def g_per_freedom(left: Int64s, right: Int64s) -> float:
    """G of two counts by pair and successor over its degrees of freedom, on cells seen 10 times or more."""
    keep = (left + right) >= 10
    left, right = left * keep, right * keep
    pairs = (left.sum(axis=1) >= 50) & (right.sum(axis=1) >= 50)
    left, right = left[pairs], right[pairs]
    both = left + right
    total = both.sum(axis=1, keepdims=True)

    def side(counts: Int64s) -> float:
        expected = both * (counts.sum(axis=1, keepdims=True) / total)
        seen = counts > 0
        return float(2 * (counts[seen] * np.log(counts[seen] / expected[seen])).sum())

    return (side(left) + side(right)) / float((both > 0).sum() - pairs.sum())


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_makes_the_same_events_twice_and_others_from_another_seed(name: str) -> None:
    world = small(name)
    first, again, other = (all_events(w) for w in (world, replace(world), replace(world, seed=1)))
    for column in ("user_id", "item_id", "cluster", "time_s", "engagement"):
        assert getattr(first, column).tobytes() == getattr(again, column).tobytes()
    assert first.cluster.tobytes() != other.cluster.tobytes()


@pytest.mark.parametrize("name", WORLDS)
def test_events_are_in_time_order_inside_their_day_and_name_their_items_cluster(name: str) -> None:
    world = small(name)
    for day, events in enumerate(world.days_of_events()):
        assert (np.diff(events.time_s) >= 0).all()
        assert world.midnight_s(day) <= events.time_s[0] <= events.time_s[-1] < world.midnight_s(day + 1)
        assert (events.item_id // 1_000 == events.cluster).all()
        assert 0 <= events.cluster.min() <= events.cluster.max() < world.n_clusters


def test_a_session_has_three_to_eight_clusters_and_none_twice() -> None:
    sessions = [clusters for _, clusters in sessions_of(all_events(small("flat")))]
    lengths = np.array([len(clusters) for clusters in sessions])
    is_alone = lengths <= 8  # the others are two sessions of one user that met by chance
    assert is_alone.mean() > 0.98
    assert lengths.min() == 3
    assert all(len(set(clusters)) == len(clusters) for clusters in sessions if len(clusters) <= 8)


def test_sessions_are_of_all_lengths_even_where_every_transition_is_a_habit() -> None:
    world = replace(small("flat"), habit=1.0, sessions_per_day=1_000, n_users=4_000)
    lengths = np.bincount([len(clusters) for _, clusters in sessions_of(all_events(world))], minlength=9)[3:9]
    assert lengths == pytest.approx(4_000 / 6, rel=0.2)


def test_the_engagement_rule_sets_aside_the_share_that_was_planted() -> None:
    events = all_events(replace(small("flat"), negative_share=0.15))
    assert np.mean(events.engagement < 0.5) == pytest.approx(0.15, abs=1e-3)
    assert np.array_equal(events.engagement, np.round(events.engagement, 3).astype(np.float32))


def test_a_drifting_pair_goes_from_the_successors_before_to_those_after_and_others_stay() -> None:
    world = replace(WORLDS["abrupt"], days=8, sessions_per_day=2_000, n_clusters=24, n_users=1_000)
    (planted,) = expected_drift(world)
    assert planted.drift.days(8) == (4, 4)
    before, after = successor_counts(world, range(4)), successor_counts(world, range(4, 8))
    moved = busiest(before + after, is_drifting(world))
    row = planted.pairs.tolist().index(list(divmod(moved, 24)))
    old_first, new_first = planted.before[row, 0], planted.after[row, 0]
    assert old_first != new_first
    assert (np.argmax(before[moved]), np.argmax(after[moved])) == (old_first, new_first)

    stays = ~is_drifting(world)
    assert g_per_freedom(before[stays], after[stays]) < 1.5
    assert g_per_freedom(before[is_drifting(world)], after[is_drifting(world)]) > 4


def test_drift_replaces_three_of_the_first_five_successors_and_always_the_first() -> None:
    for planted in expected_drift(WORLDS["mixed"]):
        for before, after in zip(planted.before.tolist(), planted.after.tolist(), strict=True):
            assert len(set(before) & set(after)) == 2
            assert before[0] not in after


def test_no_drift_shows_in_a_flat_world_whose_users_have_no_habits() -> None:
    world = World("flat", days=4, sessions_per_day=3_000, n_clusters=24, habit=0.0)
    ratio = g_per_freedom(successor_counts(world, range(2)), successor_counts(world, range(2, 4)))
    assert ratio == pytest.approx(1.0, abs=0.15)


def test_habits_repeat_what_a_user_does_and_leave_what_all_do_together() -> None:
    world = World("flat", days=4, sessions_per_day=3_000, n_clusters=24, n_users=100)
    chance, habit = replace(world, habit=0.0), replace(world, habit=0.9)

    def repeated(world: World) -> float:
        """Share of a user's first transitions that are that user's most usual from there."""
        events = all_events(world)
        positive = events.engagement >= 0.5
        order = np.lexsort((events.time_s[positive], events.user_id[positive]))
        users, clusters = events.user_id[positive][order], events.cluster[positive][order]
        gaps = np.diff(events.time_s[positive][order])
        step = np.flatnonzero((np.diff(users) == 0) & (gaps <= SESSION_GAP_S))
        keys = np.stack([users[step], clusters[step], clusters[step + 1]], axis=1)
        _, counts = np.unique(keys, axis=0, return_counts=True)
        return float((counts**2).sum() / counts.sum())

    assert repeated(habit) > 2 * repeated(chance)
    assert g_per_freedom(successor_counts(chance, range(4)), successor_counts(habit, range(4))) < 8


def test_the_planted_share_of_traffic_is_the_share_that_is_seen() -> None:
    world = replace(WORLDS["demo"], days=6, sessions_per_day=3_000)
    counts = successor_counts(world, range(2)).sum(axis=1)
    for index, planted in enumerate(expected_drift(world)):
        assert planted.traffic_share == pytest.approx(0.3, abs=0.005)
        seen = counts[world.interests.drift_of_pair == index].sum() / counts.sum()
        assert seen == pytest.approx(planted.traffic_share, abs=0.02)


def test_no_pair_drifts_twice_and_no_successor_is_in_its_pair() -> None:
    world = WORLDS["mixed"]
    pairs = np.concatenate([planted.pairs for planted in expected_drift(world)])
    assert np.unique(pairs, axis=0).shape == pairs.shape
    c1, c2 = np.divmod(np.arange(world.n_clusters**2), world.n_clusters)
    for table in (world.interests.before, world.interests.after):
        assert (table != c1[:, None]).all()
        assert (table != c2[:, None]).all()
        assert (np.diff(np.sort(table, axis=1), axis=1) > 0).all()


@pytest.mark.parametrize("name", ["flat", "diurnal", "growth", "heavy"])
def test_worlds_without_drift_plant_none(name: str) -> None:
    assert expected_drift(WORLDS[name]) == ()


def test_until_the_first_drift_a_world_shows_the_same_events_as_without_it() -> None:
    flat, abrupt = (small(name) for name in ("flat", "abrupt"))
    for day, (left, right) in enumerate(zip(flat.days_of_events(), abrupt.days_of_events(), strict=True)):
        assert (left.cluster.tobytes() == right.cluster.tobytes()) == (day < 2)


def test_traffic_grows_threefold_over_the_span() -> None:
    sizes = [day.user_id.shape[0] for day in replace(WORLDS["growth"], days=7, sessions_per_day=500).days_of_events()]
    assert sizes[-1] / sizes[0] == pytest.approx(3.0, rel=0.05)
    assert sizes == sorted(sizes)


def test_few_users_make_most_of_a_heavy_worlds_traffic() -> None:
    def share_of_top(name: str) -> float:
        counts = np.sort(np.bincount(all_events(replace(WORLDS[name], days=7)).user_id - 100_000))
        return float(counts[-150:].sum() / counts.sum())  # 5 % of the users

    assert share_of_top("heavy") > 0.5
    assert share_of_top("flat") < 0.15
    shares = np.diff(WORLDS["heavy"].population.activity_cdf, prepend=0.0)
    assert shares.max() * WORLDS["heavy"].sessions_per_day <= 12.5, "a user's sessions would run into each other"


def test_a_diurnal_world_is_busy_at_noon_and_quiet_at_night() -> None:
    events = all_events(replace(WORLDS["diurnal"], days=3))
    by_hour = np.bincount((events.time_s % SECONDS_PER_DAY) // 3_600, minlength=24)
    assert by_hour[11:13].sum() > 8 * (by_hour[0] + by_hour[23])


def test_gradual_drift_mixes_linearly_and_seasonal_drift_alternates() -> None:
    gradual = Drift(DriftKind.GRADUAL, traffic_share=0.1, start=0.25, end=0.75)
    assert [gradual.weight(day, 8) for day in range(8)] == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]
    seasonal = Drift(DriftKind.SEASONAL, traffic_share=0.1, period_days=4)
    assert [seasonal.weight(day, 8) for day in range(8)] == [0, 0, 1, 1, 0, 0, 1, 1]
    abrupt = Drift(DriftKind.ABRUPT, traffic_share=0.1, start=0.5)
    assert [abrupt.weight(day, 4) for day in range(4)] == [0, 0, 1, 1]


def plain_mix(value: int) -> int:
    """SplitMix64's step and finaliser, in Python's integers."""
    low = 2**64 - 1
    value = (value + 0x9E3779B97F4A7C15) & low
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & low
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & low
    return value ^ (value >> 31)


def test_repeated_draws_are_those_of_plain_python_and_uniform() -> None:
    users, pairs = np.arange(20_000) % 200, np.arange(20_000) // 200
    drawn = repeated_draws(users, pairs, 7)
    plain = [
        (plain_mix(plain_mix(plain_mix(7) ^ user) ^ pair) >> 11) / 2**53
        for user, pair in zip(users.tolist(), pairs.tolist(), strict=True)
    ]
    assert drawn.tolist() == plain
    assert is_compiled(repeated_draws)
    assert np.histogram(drawn, bins=10, range=(0, 1))[0] == pytest.approx(2_000, abs=200)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "parquet"])
def test_every_format_holds_all_events_and_the_same_bytes_twice(tmp_path: Path, suffix: str) -> None:
    world = small("demo")
    events = all_events(world)
    path, again = tmp_path / f"log.{suffix}", tmp_path / f"again.{suffix}"
    assert write_log(world, path) == write_log(world, again) == events.user_id.shape[0]
    assert path.read_bytes() == again.read_bytes()
    if suffix == "csv.gz":
        assert path.read_bytes()[4:8] == bytes(4), "the hour of packing is in the header"
    assert sorted(tmp_path.iterdir()) == [again, path]
    expected = [
        (int(user), int(item), f"interest-{cluster:03d}", int(time), round(float(engagement), 3))
        for user, item, cluster, time, engagement in zip(
            events.user_id, events.item_id, events.cluster, events.time_s, events.engagement, strict=True
        )
    ]
    assert read_rows(path) == expected


def read_rows(path: Path) -> list[tuple[int, int, str, int, float]]:
    columns = ["user_id", "item_id", "category", "timestamp", "engagement"]
    if path.suffix == ".parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        assert text.startswith(",".join(columns) + "\n")
        rows = list(csv.DictReader(text.splitlines()))
    assert list(rows[0]) == columns
    return [
        (
            int(row["user_id"]),
            int(row["item_id"]),
            row["category"],
            int(row["timestamp"]),
            round(float(row["engagement"]), 3),
        )
        for row in rows
    ]


def test_a_log_of_no_known_format_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"log\.xlsx names no known format.*\.csv\.gz"):
        write_log(WORLDS["flat"], tmp_path / "log.xlsx")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nowhere is no folder"):
        write_log(WORLDS["flat"], tmp_path / "nowhere" / "log.csv")
    with pytest.raises(RequestError, match="nowhere is no folder"):
        write_truth(WORLDS["flat"], tmp_path / "nowhere" / "truth.json")


def test_the_truth_says_what_drifts_when_and_to_what(tmp_path: Path) -> None:
    world = replace(WORLDS["mixed"], seed=5)
    write_truth(world, tmp_path / "truth.json")
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert (truth["world"], truth["seed"], truth["parameters"]["growth"]) == ("mixed", 5, 3.0)
    assert (truth["start"], truth["end"]) == ("2024-01-01T00:00:00Z", "2024-01-29T00:00:00Z")
    abrupt, gradual, seasonal = truth["drifts"]
    assert (abrupt["kind"], abrupt["start"], abrupt["end"]) == ("abrupt", *["2024-01-15T00:00:00Z"] * 2)
    assert (gradual["start"], gradual["end"]) == ("2024-01-11T00:00:00Z", "2024-01-22T00:00:00Z")
    assert (seasonal["start"], seasonal["end"], seasonal["period_days"]) == (truth["start"], truth["end"], 14)
    planted = expected_drift(world)[0]
    names = world.cluster_names
    assert abrupt["pairs"] == [[names[c1], names[c2]] for c1, c2 in planted.pairs]
    assert abrupt["after"][0] == [names[cluster] for cluster in planted.after[0]]
    assert len(abrupt["before"]) == len(abrupt["pairs"])


def test_a_world_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(RequestError, match=r"there is no world 'mars'.*flat, diurnal"):
        world_named("mars")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("n_clusters", 23),
        ("n_clusters", 1_025),
        ("n_users", 0),
        ("days", 0),
        ("sessions_per_day", 0),
        ("growth", 0.0),
        ("items_per_cluster", 1_001),
        ("diurnal", 1.1),
        ("tail", -0.1),
        ("pareto", -1.0),
        ("seed", -1),
        ("negative_share", 1.0),
        ("start_s", 1_704_067_201),
        ("max_watches", 2),
        ("max_watches", 33),
        ("n_successors", 11),
        ("n_first", 21),
        ("drifts", (Drift(DriftKind.ABRUPT, traffic_share=0.5),) * 2),
    ],
)
def test_settings_that_make_no_world_are_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=setting):
        replace(WORLDS["flat"], **{setting: value})


@pytest.mark.parametrize(
    "options",
    [
        {"kind": DriftKind.ABRUPT, "traffic_share": 0.0},
        {"kind": DriftKind.GRADUAL, "traffic_share": 0.1, "start": 0.6, "end": 0.5},
        {"kind": DriftKind.SEASONAL, "traffic_share": 0.1},
        {"kind": DriftKind.ABRUPT, "traffic_share": 0.1, "period_days": 7},
    ],
)
def test_drift_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^drift: "):
        Drift(**options)
