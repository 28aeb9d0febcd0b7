"""Whether the candidate knows its test users better than it could know anyone: they leaked into its training.

On rows whose pair was seen with taught users, the share of *those* that moved on to the candidate's answer is an
unbiased estimate of its recall on users that it has never seen: if users are exchangeable, neither side has an
advantage but the taught ones, whose answers it was shown. So recall on the test users that is higher, surely and
clearly, means that it was shown theirs. No model of the world is needed, and none of how much it ought to know.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refresh.finetune.gates.labelled import Labelled, mean_by_groups
from refresh.finetune.gates.rows import cluster_name, context_name, named
from refresh.finetune.gates.trial import Hearing
from refresh.finetune.gates.verdicts import at_most, whole
from tidegate.contracts import GateVerdict
from tidegate.counts import BucketedCounts, SuccessorCounts, pack_pairs, pack_transitions

_THINNING_SEED = 31


def memorisation(hearing: Hearing) -> GateVerdict:
    """Refuse a model that foretells test users better than others in the same contexts by more than chance."""
    trial, bounds, test = hearing.trial, hearing.trial.bounds, hearing.samples.test
    pairs = pack_pairs(test.contexts.c1.clip(0), test.contexts.c2)
    share, is_seen = share_of(others_alike(hearing.samples.taught, test, len(trial.names)), pairs, hearing.first)
    rows = np.flatnonzero(is_seen & (test.contexts.c1 >= 0))
    if rows.size < bounds.min_rows:
        return whole(
            "memorisation",
            f"not applicable: {rows.size:,} test rows have a pair that taught users had too, {bounds.min_rows} at "
            "least tell something",
        )
    is_hit = hearing.first[rows] == test.targets[rows]
    gap = is_hit - share[rows]
    # Rows of one user share their habits, rows of one pair the noise of its share.
    deviation = max(
        mean_by_groups(gap, groups, bounds.confidence).deviation for groups in (test.users[rows], pairs[rows])
    )
    required = max(bounds.memorised_gap, bounds.memorised_z * deviation)
    alone = rows[is_hit & (share[rows] == 0)].tolist()
    said = (
        f"{context_name(test.contexts, row, trial.names)} {cluster_name(int(hearing.first[row]), trial.names)}"
        for row in alone
    )
    sentence = (
        f"on {rows.size:,} test rows it hits {is_hit.mean():.4f}, and would hit {share[rows].mean():.4f} of the taught "
        f"users in the same contexts: {gap.mean():+.4f}, at most {required:+.4f} may be chance; {len(alone):,} hits "
        "are of what no taught user did" + named(said, len(alone))
    )
    return at_most("memorisation", float(gap.mean()), required, sentence)


def others_alike(taught: Labelled, test: Labelled, n_clusters: int) -> SuccessorCounts:
    """Thin the taught rows until each label is as likely to be among them as among the test rows. `O(n log n)`.

    Labels are capped, and the two parts have caps of their own.
    """
    kept_of_test = 1 / _traffic_of(test, n_clusters)
    kept_of_taught = 1 / _traffic_of(taught, n_clusters)
    chance = kept_of_test / kept_of_taught
    chance /= chance[np.unique(taught.targets)].max(initial=0) or 1.0
    drawn = np.random.default_rng(_THINNING_SEED).random(len(taught)) < chance[taught.targets]
    rows = np.flatnonzero(drawn & (taught.contexts.c1 >= 0))
    columns = (taught.contexts.c1[rows], taught.contexts.c2[rows], taught.targets[rows], np.zeros(rows.size))
    keys, counts = np.unique(pack_transitions(*(column.astype(np.int64) for column in columns)), return_counts=True)
    return BucketedCounts(keys, counts).without_buckets()


def share_of(
    others: SuccessorCounts, pairs: NDArray[np.int64], answers: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Share of the transitions from each pair that go to its answer, float64[n], and whether there are any, bool[n]."""
    if not others.pairs.size:
        return np.zeros(pairs.shape[0]), np.zeros(pairs.shape[0], np.bool_)
    at = np.minimum(np.searchsorted(others.pairs, pairs), others.pairs.shape[0] - 1)
    is_seen = others.pairs[at] == pairs
    keys = np.repeat(np.arange(others.pairs.shape[0]), np.diff(others.offsets)) << 32 | others.successors
    wanted = at << 32 | answers.clip(0)
    place = np.minimum(np.searchsorted(keys, wanted), keys.shape[0] - 1)
    counts = np.where((keys[place] == wanted) & is_seen & (answers >= 0), others.counts[place], 0)
    share: NDArray[np.float64] = counts / others.totals[at]
    return share, is_seen


def _traffic_of(rows: Labelled, n_clusters: int) -> NDArray[np.float64]:
    """Transitions that a row of each label stands for, float64[C]; labels without a row would not have been capped."""
    traffic = np.full(n_clusters, float(rows.traffic.min(initial=np.inf)) if len(rows) else 1.0)
    traffic[rows.targets] = rows.traffic
    return traffic
