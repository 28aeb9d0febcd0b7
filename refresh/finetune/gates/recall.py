"""What the answers to held-out users are worth, by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from refresh.finetune.gates.labelled import first_allowed, mean_by_groups, most_popular
from refresh.finetune.gates.rows import cluster_name, context_name, named
from refresh.finetune.gates.trial import Hearing
from refresh.finetune.gates.verdicts import at_least, at_most
from tidegate.contracts import GateVerdict


def recall(hearing: Hearing) -> GateVerdict:
    """Require the paper's recall, and more than what needs no model.

    From some size of the catalogue on that is ten times chance, which is the same however rows were drawn. Below it,
    it is always predicting the most popular cluster; popularity is a matter of traffic, so rows count by what they
    stand for, and the candidate must be ahead by more than chance.
    """
    bounds, test, n_clusters = hearing.trial.bounds, hearing.samples.test, len(hearing.trial.names)
    is_hit = hearing.first == test.targets
    found = mean_by_groups(is_hit.astype(np.float64), test.users, bounds.confidence)
    said = (
        f"{int(is_hit.sum()):,} of {len(test):,} transitions of {test.n_users:,} held-out groups of users are "
        f"foretold, a recall of {found.mean:.4f} ({bounds.confidence:.0%} interval {found.low:.4f} to {found.high:.4f})"
    )
    missed = named(_missed(hearing), int((~is_hit).sum()))
    if n_clusters >= bounds.chance_from_clusters:
        chance = 1 / n_clusters
        required = max(bounds.min_recall, bounds.min_recall_over_chance * chance)
        sentence = f"{said}, {found.mean / chance:.1f} times chance; at least {required:.4f} is required{missed}"
        return at_least("recall", found.mean, required, sentence)
    is_foil_hit = most_popular(test, n_clusters) == test.targets
    ahead = mean_by_groups(is_hit.astype(np.float64) - is_foil_hit, test.users, bounds.confidence, test.traffic)
    by_traffic, of_foil = (float(np.average(each, weights=test.traffic)) for each in (is_hit, is_foil_hit))
    required = max(bounds.min_recall, of_foil + ahead.mean - ahead.low)
    sentence = (
        f"{said}; by traffic it is {by_traffic:.4f}, and that of always predicting the most popular {of_foil:.4f}: "
        f"{ahead.mean:+.4f} ({ahead.low:+.4f} to {ahead.high:+.4f}); it must be above, by more than chance, and at "
        f"least {bounds.min_recall:.4f}{missed}"
    )
    verdict = at_least("recall", by_traffic, required, sentence)
    return msgspec.structs.replace(verdict, is_passed=verdict.is_passed and ahead.mean > 0)


def context(hearing: Hearing) -> GateVerdict:
    """Refuse a model that answers without looking: one order of clusters, whatever it is asked."""
    trial, test, bound = hearing.trial, hearing.samples.test, hearing.trial.bounds.max_context_free_share
    counts = np.bincount(hearing.first[hearing.first >= 0], minlength=len(trial.names))
    order = np.argsort(-counts, kind="stable").astype(np.int32)
    is_free = first_allowed(order, test.contexts) == hearing.first
    rows = (context_name(test.contexts, row, trial.names) for row in np.flatnonzero(is_free).tolist())
    first = ", ".join(cluster_name(cluster, trial.names) for cluster in order[:3].tolist())
    sentence = (
        f"{is_free.mean():.1%} of the held-out rows are answered by one order of clusters, whatever is asked "
        f"({first}), at most {bound:.1%} may be; {int((counts > 0).sum()):,} of {counts.size:,} clusters are "
        "answered at all" + (named(rows, int(is_free.sum())) if is_free.mean() > bound else "")
    )
    return at_most("context", float(is_free.mean()), bound, sentence)


def _missed(hearing: Hearing) -> Iterator[str]:
    """Name the rows that were missed."""
    names, test = hearing.trial.names, hearing.samples.test
    for row in np.flatnonzero(hearing.first != test.targets).tolist():
        yield (
            f"{context_name(test.contexts, row, names)} it says {cluster_name(int(hearing.first[row]), names)} for "
            f"{cluster_name(int(test.targets[row]), names)}"
        )
