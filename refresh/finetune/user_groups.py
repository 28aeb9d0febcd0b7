"""Which users teach, and which are kept to be asked afterwards: whole user buckets, so that nobody is on both sides.

Labels of a fold are asked with lines from the other folds; labels of users that were kept, with lines from all folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegate.counts import MAX_BUCKETS, BucketedCounts, bucket_of_key
from tidegate.errors import FineTuneError
from tidegate.hashing import mix64_array

TAUGHT, VALIDATION, TEST = "taught", "validation", "test"
PARTS = (TAUGHT, VALIDATION, TEST)
"""Samples to learn from, to stop by, and for the gates."""

HELD_OUT = -1
"""Group of samples whose users are in no fold."""

Buckets = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UserGroups:
    """User buckets by what their users are for.

    Attributes
    ----------
    folds : tuple of buckets    of users whose labels are taught; two at least
    validation : buckets        of users that training stops by
    test : buckets              of users that only the gates ask
    """

    folds: tuple[Buckets, ...]
    validation: Buckets
    test: Buckets

    @property
    def taught(self) -> Buckets:
        """Buckets of all folds."""
        return tuple(sorted(bucket for fold in self.folds for bucket in fold))

    def labels(self, part: str) -> Buckets:
        """Buckets whose users give a part its labels."""
        return {TAUGHT: self.taught, VALIDATION: self.validation, TEST: self.test}[part]

    def evidence(self, group: int) -> Buckets:
        """Buckets whose users give the lines of a fold's labels, or (`HELD_OUT`) of labels outside all folds."""
        return tuple(sorted(bucket for at, fold in enumerate(self.folds) if at != group for bucket in fold))

    def group_of_bucket(self) -> NDArray[np.int8]:
        """Fold of each bucket, `HELD_OUT` outside all of them: int8[256]."""
        groups = np.full(MAX_BUCKETS, HELD_OUT, np.int8)
        for at, fold in enumerate(self.folds):
            groups[list(fold)] = at
        return groups

    @classmethod
    def of(
        cls, counts: BucketedCounts, *, n_folds: int, validation_share: float, test_share: float, seed: int
    ) -> UserGroups:
        """Split the buckets that occur, shuffled by `seed`.

        Raises
        ------
        FineTuneError
            If there are not enough buckets for two folds and users to keep.
        """
        buckets = np.unique(bucket_of_key(counts.keys))
        n_validation, n_test = (max(1, round(share * buckets.size)) for share in (validation_share, test_share))
        n_taught = buckets.size - n_validation - n_test
        if n_taught < 2 or n_folds < 2:
            raise FineTuneError(
                f"The windows show users of {buckets.size} buckets: too few for two folds beside those that are kept",
                "Take more windows; two folds and less than half of the users to keep",
            )
        order = np.argsort(mix64_array(buckets.astype(np.uint64) + (np.uint64(seed) << np.uint64(8))), kind="stable")
        shuffled = buckets[order].tolist()
        taught = shuffled[n_validation + n_test :]
        return cls(
            folds=tuple(tuple(sorted(taught[at::n_folds])) for at in range(min(n_folds, n_taught))),
            validation=tuple(sorted(shuffled[:n_validation])),
            test=tuple(sorted(shuffled[n_validation : n_validation + n_test])),
        )


def of_users(counts: BucketedCounts, buckets: Buckets) -> BucketedCounts:
    """Keep the transitions of the users of some buckets. `O(t)`."""
    is_wanted = np.zeros(MAX_BUCKETS, np.bool_)
    is_wanted[list(buckets)] = True
    chosen = is_wanted[bucket_of_key(counts.keys)]
    return BucketedCounts(counts.keys[chosen], counts.counts[chosen])


def require_no_shared_users(
    bucket: NDArray[np.int64], part: NDArray[np.str_], group: NDArray[np.int8], evidence: Mapping[int, Buckets]
) -> None:
    """Refuse samples of which some user is on two sides. `O(n)`.

    Parameters
    ----------
    bucket : int64[n]    of the user whose transition the label is
    part : str[n]        of `PARTS`
    group : int8[n]      its fold, `HELD_OUT` for users that were kept
    evidence : buckets whose users gave the lines, by group

    Raises
    ------
    FineTuneError
        If a user is in two parts, or gave both a label and the line that it is asked with, or if users that were kept
        gave lines to learn from.
    """
    users = {name: set(np.unique(bucket[part == name]).tolist()) for name in PARTS}
    for one, other in ((TAUGHT, VALIDATION), (TAUGHT, TEST), (VALIDATION, TEST)):
        _require_apart(users[one], users[other], f"are in both parts, {one} and {other}")
    for at, buckets in evidence.items():
        labelled = set(np.unique(bucket[group == at]).tolist())
        _require_apart(labelled, set(buckets), "gave both labels and the lines that they are asked with")
    of_lines = set().union(*(set(buckets) for buckets in evidence.values()))
    _require_apart(users[VALIDATION] | users[TEST], of_lines, "were to be kept, and gave retrieved lines")


def _require_apart(one: set[int], other: set[int], what: str) -> None:
    shared = sorted(one & other)
    if shared:
        shown = ", ".join(map(str, shared[:5])) + (", …" if len(shared) > 5 else "")
        raise FineTuneError(
            f"The samples leak: users of {len(shared)} buckets ({shown}) {what}",
            "Take the samples again; what was measured on these is worth nothing",
        )
