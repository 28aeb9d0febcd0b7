"""Drift reports: what one window looked like against its reference, and its pairs one by one."""

from __future__ import annotations

import msgspec

from tidegate.contracts.drift_levels import BackoffDrift, LevelDrift


class PairDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One compared pair of a drift report.

    ``jaccard`` is the raw measure, on all counts. ``drift`` is ``1 - J / null`` with J at the matched counts that the
    null is measured at, so where traffic differs it is not ``1 - jaccard / null``; the counts it rests on stand
    beside it.
    """

    c1: int
    c2: int
    n_window: int
    n_reference: int
    jaccard: float
    null: float
    drift: float
    p_value: float
    flagged: bool
    rbo: float | None = None
    """Rank-biased overlap of the whole rankings, at full counts like `jaccard`."""
    rbo_null: float | None = None
    """The same with no drift, at matched counts like `null`."""


class FrontDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest pane alone looked like against the window's reference: the urgent look.

    ``alarmed`` says whether the pane as a whole drifts; ``flagged_pairs`` are counted, and ``flagged`` lists them,
    only where it does. ``is_repeated`` says that the pane one window before stood out as far: a cycle of the window's
    length, such as a weekend, and no alarm then.
    """

    transitions: int
    pairs: int
    table_z: float | None
    table_p: float
    alarmed: bool
    flagged_pairs: int = 0
    flagged: tuple[PairDrift, ...] = ()
    is_repeated: bool = False


class DriftCourse(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector says of the course of drift over windows.

    ``score`` is the window's, standard normal if nothing drifts; None where nothing could be compared. ``statistic`` is
    what the detector held against its ``threshold``, None where it does not tell.
    """

    detector: str
    score: float | None
    statistic: float | None
    threshold: float
    is_signalled: bool
    windows_since_signal: int | None
    """0 at a signal; None before the first."""
    false_alarm_windows: float
    """Windows until the detector is expected to be wrong, if nothing drifts."""


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one window looked like against its reference.

    Means are unweighted over the pairs with `min_support` transitions or more on both sides, and None where there
    is no such pair. ``drift_mean`` is ``1 - jaccard_matched_mean / null_mean``: the mean of the pairs' drifts, each
    weighed by its null, since a pair of which even exchanged users agree on nothing tells nothing. Hit rates are those
    of the window's last pane (None before a table serves).
    """

    run_id: str
    window_start_ms: int
    window_end_ms: int
    pane_ms: int
    min_support: int
    transitions: int
    pairs: int
    flagged_pairs: int
    jaccard_mean: float | None
    jaccard_variance: float | None
    null_mean: float | None
    drift_mean: float | None
    drift_traffic_mean: float | None
    """The same of means weighted by the pairs' transitions in the window."""
    table_z: float | None
    """Standard deviations by which the statistic summed over all pairs exceeds its permutation mean."""
    alarmed: bool
    """Whether the window as a whole drifts; without it no pair may be refreshed by reason of drift."""
    jaccard_matched_mean: float | None = None
    """J at the counts that the null is measured at: the one to hold against `null_mean`, where `jaccard_mean` is the
    paper's figure on all counts."""
    flagged: tuple[PairDrift, ...] = ()
    hit_rate_next: float | None = None
    hit_rate_sequence: float | None = None
    coverage: float | None = None
    table_p: float | None = None
    """Permutation p-value of `table_z`; None in reports from before it was kept."""
    front: FrontDrift | None = None
    """The newest pane alone; None where it is the whole window, or shares no pair with the reference."""
    course: DriftCourse | None = None
    """Added when the pane is decided: it rests on the windows before."""
    rbo_mean: float | None = None
    """Rank-biased overlap of the whole rankings at full counts: what Jaccard, of the top five alone, does not see."""
    rbo_null_mean: float | None = None
    """The same with no drift, at matched counts."""
    rbo_drift_mean: float | None = None
    """``1 - matched / null`` of the means of rank-biased overlap."""
    by_c1: LevelDrift | None = None
    by_c2: LevelDrift | None = None
    backoff: BackoffDrift | None = None
    """None in reports from before it was measured."""
