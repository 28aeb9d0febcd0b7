"""Curation: samples ``[(c1, c2), c_next]`` from the latest windows, for one fine-tune.

Labels are drawn so that heads do not drown tails (a cap per label), asked as rows are asked, with retrieved lines from
other users than the label's. Users of some buckets are kept: training stops by one group, the gates ask another.
Nothing later than the flag's window is looked at, so whatever scores the new weights later is new to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Evidence, PaneSpans, memory_lengths
from refresh.finetune.user_groups import (
    PARTS,
    TAUGHT,
    TEST,
    VALIDATION,
    UserGroups,
    of_users,
    require_no_shared_users,
)
from refresh.training.samples import Samples, ask, draw_capped
from tidegate.counts import BucketedCounts, bucket_of_key, pair_of_key, successor_of_key
from tidegate.errors import FineTuneError
from tidegate.hashing import cluster_seeds

_NUMBER_OF_PART = {name: number for number, name in enumerate(PARTS)}


@dataclass(frozen=True, slots=True)
class CurationRecipe:
    """How samples are taken.

    Attributes
    ----------
    n_taught, n_validation, n_test : int    the most of each part
    label_windows : int                     newest windows that labels come from; lines look further back
    n_folds : int                           groups of users whose labels are asked with the others' lines
    validation_share, test_share : float    of the user buckets
    without_line, without_c1 : float        shares of what is taught whose line, or c1, is left out
    n_retrieved : int                       clusters of a retrieved line
    """

    n_taught: int = 8_000
    n_validation: int = 1_500
    n_test: int = 2_000
    label_windows: int = 1
    n_folds: int = 4
    validation_share: float = 0.125
    test_share: float = 0.1875
    without_line: float = 0.15
    without_c1: float = 0.10
    n_retrieved: int = 1

    @property
    def as_facts(self) -> dict[str, float | int]:
        """The recipe as the artefact has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PaneCounts:
    """Transitions of one closed pane, by user bucket."""

    pane: int
    counts: BucketedCounts


@dataclass(frozen=True, slots=True)
class CuratedSamples:
    """Samples with whom they came from.

    Attributes
    ----------
    samples : Samples
    part : uint8[n]      number in `PARTS`
    group : int8[n]      fold of the label's user, `HELD_OUT` for those that were kept
    bucket : uint8[n]    of the label's user
    groups : UserGroups
    names : tuple of str           the catalogue at the flag, by id
    first_pane, last_pane : int    that were looked at
    flag_pane : int                the last pane of the flag's window
    seed : int
    recipe : CurationRecipe
    """

    samples: Samples
    part: NDArray[np.uint8]
    group: NDArray[np.int8]
    bucket: NDArray[np.uint8]
    groups: UserGroups
    names: tuple[str, ...]
    first_pane: int
    last_pane: int
    flag_pane: int
    seed: int
    recipe: CurationRecipe

    @property
    def taught(self) -> Samples:
        """Samples to learn from."""
        return self._of(TAUGHT)

    @property
    def validation(self) -> Samples:
        """Samples to stop by."""
        return self._of(VALIDATION)

    @property
    def test(self) -> Samples:
        """Samples of users that training never saw, for the gates."""
        return self._of(TEST)

    def _of(self, name: str) -> Samples:
        return self.samples[self.part == _NUMBER_OF_PART[name]]

    def require_no_leak(self) -> None:
        """Refuse samples that later measurements would already know.

        Raises
        ------
        FineTuneError
            If a user is on two sides (`require_no_shared_users`), or a pane is later than the flag's window.
        """
        require_until(self.last_pane, self.flag_pane)
        evidence = {group: self.groups.evidence(group) for group in np.unique(self.group).tolist()}
        parts = np.array(PARTS)[self.part]
        require_no_shared_users(self.bucket.astype(np.int64), parts, self.group, evidence)


def require_until(last_pane: int, flag_pane: int) -> None:
    """Refuse panes later than the flag's: the new weights are scored on them.

    Raises
    ------
    FineTuneError
        If there is one.
    """
    if last_pane > flag_pane:
        raise FineTuneError(
            f"The samples leak: pane {last_pane} is later than the flag's window, which ends with pane {flag_pane}",
            "Take samples of panes up to the flag's alone; later ones score the new weights",
        )


def curate(
    panes: Sequence[PaneCounts],
    names: Sequence[str],
    *,
    flag_pane: int,
    window_panes: int,
    seed: int,
    recipe: CurationRecipe | None = None,
) -> CuratedSamples:
    """Take samples. Equal panes and seed give equal samples. `O(k t log t)` for k folds.

    Parameters
    ----------
    panes : closed panes, ascending, none left out; labels come from the newest windows, lines from all
    names : the catalogue by id, as it was at the flag
    flag_pane : the last pane of the window that raised the flag
    window_panes : panes of the run's window: how evidence looks at the past

    Raises
    ------
    FineTuneError
        If a pane is later than the flag's window, or there are users of too few buckets for every part.
    """
    recipe = recipe or CurationRecipe()
    if not panes:
        raise FineTuneError("There are no closed panes up to the flag's", "Wait for the first full window")
    require_until(max(each.pane for each in panes), flag_pane)
    newest = panes[-recipe.label_windows * window_panes :]
    counts = BucketedCounts.merge([each.counts for each in newest])
    groups = UserGroups.of(
        counts,
        n_folds=recipe.n_folds,
        validation_share=recipe.validation_share,
        test_share=recipe.test_share,
        seed=seed,
    )
    look = _Look(panes, cluster_seeds(list(names)), window_panes, groups)
    parts = [_part(name, counts, look, recipe, seed) for name in PARTS]
    curated = CuratedSamples(
        samples=Samples.concatenate([part.samples for part in parts]),
        part=np.repeat(np.arange(len(PARTS), dtype=np.uint8), [len(part.samples) for part in parts]),
        group=np.concatenate([part.group for part in parts]),
        bucket=np.concatenate([part.bucket for part in parts]),
        groups=groups,
        names=tuple(names),
        first_pane=min(each.pane for each in panes),
        last_pane=max(each.pane for each in panes),
        flag_pane=flag_pane,
        seed=seed,
        recipe=recipe,
    )
    curated.require_no_leak()
    return curated


@dataclass(frozen=True, slots=True)
class _Part:
    samples: Samples
    group: NDArray[np.int8]
    bucket: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Look:
    """Evidence of some users alone, as the run's own looks at its panes."""

    panes: Sequence[PaneCounts]
    seeds: NDArray[np.uint64]
    window_panes: int
    groups: UserGroups

    def evidence(self, group: int) -> Evidence:
        users = self.groups.evidence(group)
        panes = [of_users(each.counts, users).without_buckets() for each in self.panes]
        spans = PaneSpans.of_panes(panes, memory_lengths(self.window_panes))
        return Evidence(spans, self.seeds, None, self.window_panes)


def _part(name: str, counts: BucketedCounts, look: _Look, recipe: CurationRecipe, seed: int) -> _Part:
    """Draw a part's labels, and ask for them with the lines of others."""
    n_samples = {TAUGHT: recipe.n_taught, VALIDATION: recipe.n_validation, TEST: recipe.n_test}[name]
    generator = np.random.default_rng((seed, _NUMBER_OF_PART[name]))
    labels = of_users(counts, look.groups.labels(name))
    targets = successor_of_key(labels.keys).astype(np.int32)
    entries, weight = draw_capped(targets, labels.counts, n_samples, generator)
    keys = labels.keys[entries]
    pairs, bucket = pair_of_key(keys), bucket_of_key(keys).astype(np.uint8)
    group = look.groups.group_of_bucket()[bucket]
    n, is_taught = keys.shape[0], name == TAUGHT
    c1, c2 = np.empty((2, n), np.int32)
    lines = np.empty((n, recipe.n_retrieved), np.int32)
    for each in np.unique(group).tolist():
        rows = np.flatnonzero(group == each)
        asked = ask(
            look.evidence(each),
            pairs[rows],
            generator,
            without_line=recipe.without_line if is_taught else 0.0,
            without_c1=recipe.without_c1 if is_taught else 0.0,
            n_retrieved=recipe.n_retrieved,
        )
        c1[rows], c2[rows], lines[rows] = asked.c1, asked.c2, asked.retrieved
    return _Part(Samples(c1, c2, lines, targets[entries], weight), group, bucket)
