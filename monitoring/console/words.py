"""Plain words for what the records hold in names and numbers."""

from __future__ import annotations

from datetime import UTC, datetime

from monitoring import wording
from monitoring.wording import ABSENT, counted
from tidegate.contracts import PairDrift

TOP = 5
"""Successors of a pair that drift compares."""

_REASONS = {
    "first_table": "first table",
    "first_sight": "new pair",
    "drift": "drift",
    "evidence": "changed context that pays",
    "probe": "to learn what the weights know",
    "schedule": "calendar",
    "fine_tune": "new weights",
    "operator": "a person or an alert",
    "retired": "left to the backoff",
}
_FLAGS = {
    "hit_rate_below_level": "the hit rate stays below its level after the last fine-tune, although context is fresh",
    "drift_since_fine_tune": "drift since the window that the weights were tuned on persists",
    "weights_too_old": "the weights have passed their age limit",
}
_OUTCOMES = {
    "completed": "served",
    "backoff_only": "backoff brought up to date, no call",
    "gate_failed": "held back by a gate",
    "failed": "failed",
}
_GATES = {
    "validity": "valid answers",
    "label_mass": "probability of allowed answers",
    "exact_match": "exact match",
    "coverage": "coverage",
    "rows_changed": "rows changed",
    "hit_rate": "hit rate",
}
_INPUTS = {
    "price": "price of a call, in misses",
    "horizon_panes": "panes that a row is expected to serve",
    "confidence_z": "standard deviations of caution",
    "realised_share": "share of expected gains that came true",
    "memory_panes": "panes of evidence",
    "concentration": "strength of the backoff, in transitions",
    "pairs_weighed": "pairs weighed",
    "rows_that_pay": "rows that pay",
    "rows_cooling_down": "rows left out: bought lately",
    "rows_over_budget": "rows left out: beyond the budget",
    "rows_bought": "rows bought",
    "rows_known": "rows known, no call",
    "backoff_rows_bought": "backoff rows bought",
    "rows_retired": "rows left to the backoff",
    "rows_probed": "rows asked to learn what the weights know",
    "lift_scarce": "hits a transition that the weights add at least, scarce pairs",
    "lift_thin": "the same, thin pairs",
    "lift_middling": "the same, middling pairs",
    "lift_dense": "the same, dense pairs",
    "gain_hits": "hits expected to be regained, at least",
    "drift_mean": "drift of the window",
    "table_z": "standard deviations beyond no drift",
    "alarmed": "window drifts beyond noise",
    "flagged_pairs": "pairs that drift",
    "failed_orders": "orders in a row that were not served",
    "held_panes": "panes until the next order",
    "table_version": "version that served",
}


def instant(time_ms: int | None) -> str:
    """Write an instant to the minute, with its zone.

    Examples
    --------
    >>> instant(1_650_812_741_000)
    '2022-04-24 15:05 UTC'
    """
    if time_ms is None:
        return ABSENT
    return datetime.fromtimestamp(time_ms / 1_000, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def day_of(time_ms: int) -> str:
    """Day of the last millisecond before an instant: a pane that ends at midnight is of the day before.

    Examples
    --------
    >>> day_of(1_650_758_400_000)
    '2022-04-23'
    """
    return datetime.fromtimestamp((time_ms - 1) / 1_000, tz=UTC).strftime("%Y-%m-%d")


def duration(seconds: float) -> str:
    """Write a span in its two largest units.

    Examples
    --------
    >>> duration(93_784), duration(59.4), duration(0.25)
    ('1 day 2 hours', '59 seconds', '0.25 seconds')
    """
    if seconds < 1:
        return f"{max(seconds, 0):.2g} seconds"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        n, left = divmod(left, size)
        if n or parts:
            parts.append(counted(n, unit) if n else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def reason(name: str) -> str:
    """Say why rows were ordered."""
    return _REASONS.get(name, name.replace("_", " "))


def flag(name: str) -> str:
    """Say why new weights are asked for."""
    return _FLAGS.get(name, name.replace("_", " "))


def outcome(name: str | None) -> str:
    """Say what became of an order."""
    return ABSENT if name is None else _OUTCOMES.get(name, name.replace("_", " "))


def gate(name: str) -> str:
    """Name a gate."""
    return _GATES.get(name, name.replace("_", " "))


def input_name(name: str) -> str:
    """Name a number that a decision looked at."""
    return _INPUTS.get(name, name.replace("_", " "))


def figure(value: object) -> str:
    """Write a number of unknown kind.

    Examples
    --------
    >>> figure(True), figure(1200), figure(0.12341), figure(None)
    ('yes', '1,200', '0.1234', '–')
    """
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def chance(p_value: float | None) -> str:
    """Write a p-value as people say it.

    Examples
    --------
    >>> chance(0.000371), chance(0.2), chance(0.9)
    ('1 in 2,700', '1 in 5', 'likely')
    """
    if p_value is None:
        return ABSENT
    if p_value > 0.5:
        return "likely"
    if p_value <= 1e-6:
        return "below 1 in a million"
    return f"1 in {float(f'{1 / p_value:.2g}'):,.0f}"


def p_value(value: float | None) -> str:
    """Write a p-value as statisticians do.

    Examples
    --------
    >>> p_value(0.0312), p_value(0.00004), p_value(None)
    ('0.0312', '<0.0001', '–')
    """
    if value is None:
        return ABSENT
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def decimal(value: float | None, places: int = 3) -> str:
    """Write a figure without a sign that its digits do not bear out.

    Examples
    --------
    >>> decimal(-0.0004, 2), decimal(-0.25, 2), decimal(None)
    ('0.00', '-0.25', '–')
    """
    text = wording.decimal(value, places)
    return text.removeprefix("-") if text.strip("-0.") == "" else text


def shared_successors(jaccard: float) -> float:
    """Successors, of five a side, that two sets with this Jaccard share: ``J = k / (10 - k)``.

    Examples
    --------
    >>> shared_successors(1.0), round(shared_successors(0.25), 3)
    (5.0, 2.0)
    """
    return 2 * TOP * jaccard / (1 + jaccard)


def drift_in_words(pair: PairDrift) -> str:
    """Say what a pair's numbers mean.

    Examples
    --------
    >>> from tidegate.contracts import PairDrift
    >>> drift_in_words(PairDrift(c1=0, c2=1, n_window=40, n_reference=50, jaccard=0.3, null=0.5, drift=0.5,
    ...                          p_value=0.001, flagged=True))
    'about 2.0 of its 5 top successors stayed, where 3.3 would have without drift'
    """
    stayed, expected = shared_successors(max(0.0, pair.null * (1 - pair.drift))), shared_successors(pair.null)
    return f"about {stayed:.1f} of its 5 top successors stayed, where {expected:.1f} would have without drift"
