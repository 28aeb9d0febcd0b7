"""Figures of a study as phrases: a mean with its interval, a share, whether a difference is told from noise."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.wording import ABSENT, Summary

NO_MODEL = "Not measured: it takes a model, and this study ran with --engine frequency. Run it with --engine embedded."


@dataclass(frozen=True, slots=True)
class Section:
    """One study.

    Attributes
    ----------
    name : str          also what its figure is called
    heading : str
    found : list of str, the most telling first
    paper : str         what the paper reports
    certainty : str     what the figures rest on
    """

    name: str
    heading: str
    found: list[str]
    paper: str
    certainty: str


def signed(value: float, places: int = 4) -> str:
    """Write a difference with its sign, and none where it rounds to 0.

    Examples
    --------
    >>> signed(0.02), signed(-0.00001)
    ('+0.0200', '0.0000')
    """
    text = f"{value:+.{places}f}"
    return text if float(text) else text[1:]


def estimate_in_words(estimate: Summary | None, places: int = 4, *, is_signed: bool = False) -> str:
    """Write a mean with half of its interval.

    Examples
    --------
    >>> estimate_in_words({"mean": 0.25, "margin": 0.01})
    '0.2500 ± 0.0100'
    """
    if estimate is None:
        return ABSENT
    mean = signed(estimate["mean"], places) if is_signed else f"{estimate['mean']:.{places}f}"
    return mean if estimate["margin"] is None else f"{mean} ± {estimate['margin']:.{places}f}"


def spread_in_words(spread: Summary | None, *, is_signed: bool = False) -> str:
    """Write a mean over splits with its spread."""
    if spread is None:
        return ABSENT
    mean = signed(spread["mean"], 3) if is_signed else f"{spread['mean']:.3f}"
    return f"{mean} ± {spread['spread']:.3f}"


def share_in_words(share: Summary | None) -> str:
    """Write a share of rows with its interval."""
    if share is None:
        return ABSENT
    return f"{100 * share['share']:.1f} % (95 % interval {100 * share['low']:.1f} to {100 * share['high']:.1f} %)"


def judged(gain: Summary | None, paired_by: str = "users") -> str:
    """Say whether a difference that is paired by users, or by something else, is told from noise."""
    if gain is None:
        return "not compared"
    mean, margin = gain["mean"], gain["margin"]
    if not mean and not margin:
        return "exactly the same"
    if margin is None:
        return f"{signed(mean)}, from too few {paired_by} to tell that from noise"
    interval = f"{signed(mean)}, 95 % interval {signed(mean - margin)} to {signed(mean + margin)}"
    if abs(mean) > margin:
        return f"{'better' if mean > 0 else 'worse'} ({interval})"
    return f"not told apart ({interval})"
