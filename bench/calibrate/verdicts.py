"""Figures that are held against a goal."""

from __future__ import annotations

from dataclasses import dataclass

from bench.table import Figure


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure, and whether it meets its goal; None where there is none to meet."""

    figure: Figure
    is_met: bool | None


def judged(
    name: str,
    value: float,
    unit: str,
    *,
    low: float | None = None,
    high: float | None = None,
    conditions: str = "",
) -> Verdict:
    """Hold a value against its bounds, both included; without any it is a mere record.

    Examples
    --------
    >>> judged("recall", 0.6, "ratio", low=0.55).figure.goal
    '>= 0.55: met'
    """
    if low is None and high is None:
        return Verdict(Figure(name, float(value), unit, "", conditions), None)
    value = float(value)
    is_met = (low is None or value >= low) and (high is None or value <= high)
    if low is not None and high is not None:
        goal = f"{low:g} to {high:g}"
    else:
        goal = f"<= {high:g}" if low is None else f">= {low:g}"
    return Verdict(Figure(name, value, unit, f"{goal}: {'met' if is_met else 'MISSED'}", conditions), is_met)
