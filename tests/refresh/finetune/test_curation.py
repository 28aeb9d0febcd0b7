from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refresh.evidence import Evidence, PaneSpans, memory_lengths
from refresh.finetune.curation import CurationRecipe, PaneCounts
from refresh.finetune.user_groups import HELD_OUT, PARTS, UserGroups, of_users, require_no_shared_users
from tests.refresh.finetune.worlds import FLAG_PANE, SMALL, WINDOW_PANES, pane_counts, panes, small_samples, take
from tests.refresh.tiny_world import NAMES
from tidegate.counts import BucketedCounts, bucket_of_key, pack_pairs, pack_transitions
from tidegate.errors import FineTuneError
from tidegate.hashing import cluster_seeds


def test_no_user_is_in_two_parts_and_every_part_has_its_samples() -> None:
    curated = small_samples()
    users = [set(curated.bucket[curated.part == number].tolist()) for number in range(len(PARTS))]
    assert not users[0] & users[1] and not users[0] & users[2] and not users[1] & users[2]
    assert [len(part) for part in (curated.taught, curated.validation, curated.test)] == [
        pytest.approx(n, rel=0.1) for n in (1_000, 300, 300)
    ]
    assert len(users[2]) == 6 and len(users[1]) == 4  # of 32 buckets


def test_labels_are_transitions_of_the_newest_window_alone() -> None:
    curated = take(recipe=replace(SMALL, without_c1=0.0))
    newest = BucketedCounts.merge([each.counts for each in panes()[-WINDOW_PANES:]])
    samples = curated.samples
    keys = pack_transitions(
        *(each.astype(np.int64) for each in (samples.c1, samples.c2, samples.target, curated.bucket))
    )
    assert np.isin(keys, newest.keys).all()


def test_lines_come_from_other_users_than_the_labels() -> None:
    curated = take(recipe=replace(SMALL, without_c1=0.0, without_line=0.0, n_retrieved=2))
    for group in np.unique(curated.group).tolist():
        rows = np.flatnonzero(curated.group == group)
        others = [of_users(each.counts, curated.groups.evidence(group)).without_buckets() for each in panes()]
        spans = PaneSpans.of_panes(others, memory_lengths(WINDOW_PANES))
        evidence = Evidence(spans, cluster_seeds(NAMES), None, WINDOW_PANES)
        samples = curated.samples[rows]
        expected = evidence.rank(pack_pairs(samples.c1, samples.c2), 2).clusters
        np.testing.assert_array_equal(samples.retrieved, expected)
        assert not set(curated.bucket[rows].tolist()) & set(curated.groups.evidence(group))


def test_users_that_were_kept_are_asked_with_lines_of_all_that_are_taught() -> None:
    groups = small_samples().groups
    assert groups.evidence(HELD_OUT) == groups.taught
    assert set(groups.evidence(0)) == set(groups.taught) - set(groups.folds[0])
    assert small_samples().group[small_samples().part > 0].tolist() == [HELD_OUT] * (
        len(small_samples().validation) + len(small_samples().test)
    )


def test_kept_users_are_asked_as_rows_are_asked_and_taught_ones_not_always() -> None:
    curated = small_samples()
    assert 0.05 < (curated.taught.c1 < 0).mean() < 0.15
    assert 0.1 < (curated.taught.retrieved[:, 0] < 0).mean() < 0.2
    for part in (curated.validation, curated.test):
        assert (part.c1 >= 0).all() and (part.retrieved[:, 0] >= 0).all()


def test_heads_do_not_drown_tails() -> None:
    head = pack_transitions(*(np.array([value]) for value in (1, 2, 3, 0)))
    keys = np.concatenate([head + bucket for bucket in range(32)])
    heavy = BucketedCounts.merge([BucketedCounts(np.sort(keys), np.full(32, 400)), pane_counts(1)])
    curated = take([PaneCounts(FLAG_PANE, heavy)])
    of_head = (curated.taught.target == 3).mean()
    assert of_head < 0.15  # 88 % of the traffic
    weight = curated.taught.weight
    assert weight[curated.taught.target == 3].mean() > 3 * weight[curated.taught.target != 3].mean()


def test_equal_panes_and_seeds_take_equal_samples_and_others_keep_other_users() -> None:
    one, again, other = take(), take(), take(seed=4)
    np.testing.assert_array_equal(one.samples.retrieved, again.samples.retrieved)
    np.testing.assert_array_equal(one.samples.target, again.samples.target)
    assert one.groups == again.groups and one.groups.test != other.groups.test


def test_a_pane_later_than_the_flag_is_a_leak() -> None:
    with pytest.raises(FineTuneError, match=rf"leak: pane {FLAG_PANE + 1} is later than the flag.*{FLAG_PANE}"):
        take([*panes(), PaneCounts(FLAG_PANE + 1, pane_counts(1))])
    with pytest.raises(FineTuneError, match="later than the flag"):
        replace(small_samples(), flag_pane=FLAG_PANE - 1).require_no_leak()


def planted(part: str, **changed: int) -> None:
    """Let a user of one side turn up on another."""
    curated = small_samples()
    rows = np.flatnonzero(curated.part == PARTS.index(part))[:1]
    bucket = curated.bucket.copy()
    bucket[rows] = changed["bucket"]
    replace(curated, bucket=bucket).require_no_leak()


@pytest.mark.parametrize(
    ("part", "side", "what"),
    [
        ("test", "taught", "in both parts, taught and test"),
        ("test", "validation", "in both parts, validation and test"),
        ("validation", "taught", "in both parts, taught and validation"),
        ("taught", "test", "in both parts, taught and test"),
    ],
)
def test_a_user_who_is_planted_on_a_second_side_is_caught(part: str, side: str, what: str):
    small_samples().require_no_leak()
    bucket = small_samples().groups.labels(side)[0]
    with pytest.raises(FineTuneError, match=rf"leak: users of 1 buckets \({bucket}\) are {what}"):
        planted(part, bucket=bucket)


def test_a_label_that_is_asked_with_its_own_users_line_is_caught() -> None:
    curated = small_samples()
    first, second = curated.groups.folds[:2]
    rows = np.flatnonzero(curated.group == 0)[:1]
    bucket = curated.bucket.copy()
    bucket[rows] = second[0]  # whose transitions are among the lines of fold 0
    with pytest.raises(FineTuneError, match="gave both labels and the lines"):
        replace(curated, bucket=bucket).require_no_leak()
    assert first != second


def test_lines_of_users_that_were_to_be_kept_are_caught() -> None:
    bucket, part = np.array([1, 2, 3]), np.array(["taught", "validation", "test"])
    group = np.array([0, HELD_OUT, HELD_OUT], np.int8)
    require_no_shared_users(bucket, part, group, {0: (4,), HELD_OUT: (1, 4)})
    with pytest.raises(FineTuneError, match="were to be kept, and gave retrieved lines"):
        require_no_shared_users(bucket, part, group, {0: (3, 4), HELD_OUT: (1, 4)})


def test_too_few_users_to_keep_some_are_refused() -> None:
    few = [PaneCounts(FLAG_PANE, pane_counts(1, n_buckets=3))]
    with pytest.raises(FineTuneError, match="users of 3 buckets: too few"):
        take(few)
    with pytest.raises(FineTuneError, match="too few"):
        take(recipe=replace(SMALL, n_folds=1))


def test_nothing_to_take_samples_from_is_refused() -> None:
    with pytest.raises(FineTuneError, match="no closed panes"):
        take([])
    with pytest.raises(FineTuneError, match="users of 0 buckets"):
        take([PaneCounts(FLAG_PANE, BucketedCounts.empty())])


def test_buckets_are_split_whatever_their_number() -> None:
    for n_buckets in (4, 5, 64, 256):
        counts = pane_counts(1, n=5_000, n_buckets=n_buckets)
        recipe = CurationRecipe()
        groups = UserGroups.of(
            counts,
            n_folds=recipe.n_folds,
            validation_share=recipe.validation_share,
            test_share=recipe.test_share,
            seed=1,
        )
        everyone = sorted([*groups.taught, *groups.validation, *groups.test])
        assert everyone == np.unique(bucket_of_key(counts.keys)).tolist()
        assert len(groups.folds) >= 2 and all(groups.folds)
        assert groups.group_of_bucket()[list(groups.folds[1])].tolist() == [1] * len(groups.folds[1])
