"""What a run's figures say in words: shared by the HTML report and the terminal, so that both say the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Summary: TypeAlias = Mapping[str, Any]
"""The JSON of one run, as ``tidegate run --json`` writes it."""

ABSENT = "–"
_LISTED = 3  # flags that a sentence names; the report's table of panes has them all
_MIN_PANES = 5  # an interval from fewer panes says more about its own noise than about the policies


def printable(text: str) -> str:
    r"""Show control and direction characters as escapes: text of logs must not steer a page or a terminal.

    Examples
    --------
    >>> printable("caf\u00e9 \x1b[2J")
    'café \\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def decimal(value: float | None, places: int = 3) -> str:
    """Write a figure, or a dash where there is none yet.

    Examples
    --------
    >>> decimal(0.2412), decimal(None)
    ('0.241', '–')
    """
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.{places}f}"


def whole(value: int | None) -> str:
    """Write a count with its thousands parted.

    Examples
    --------
    >>> whole(13420)
    '13,420'
    """
    return ABSENT if value is None else f"{value:,}"


def counted(n: int, noun: str) -> str:
    """Write a count and its noun, singular for one.

    Examples
    --------
    >>> counted(1, "window"), counted(1200, "window")
    ('1 window', '1,200 windows')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def day(instant: str) -> str:
    """Shorten an ISO instant: its day where it is midnight, its minute where the seconds are 0.

    Examples
    --------
    >>> day("2022-04-24T00:00:00Z"), day("2022-04-24T15:00:00Z")
    ('2022-04-24', '2022-04-24 15:00')
    """
    return instant.replace("T00:00:00Z", "").replace("T", " ").removesuffix(":00Z").removesuffix("Z")


def subject_of(runs: Mapping[str, Summary]) -> str:
    """Name of the run that a report is about: the adaptive one, else the first."""
    return next((name for name in runs if name.split(":")[0] == "adaptive"), next(iter(runs)))


@dataclass(frozen=True, slots=True)
class Difference:
    """Next-hit rate (or information) of one policy less another's, over the panes that scored both.

    Attributes
    ----------
    mean : float            ratio of summed hits (or bits), one less the other
    margin : float | None   half of the 95 % interval; None below 5 panes
    n_panes : int
    """

    mean: float
    margin: float | None
    n_panes: int

    @property
    def is_proven(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.margin is not None and abs(self.mean) > self.margin


def difference(ours: Summary, theirs: Summary, figure: str = "hits_next") -> Difference | None:
    """Compare two runs of one log pane by pane; None where no pane scored both.

    `figure` is what panes count: ``hits_next``, or ``hit_bits`` for hit information.

    Both answer the same transitions, and users repeat themselves within a pane: so the pane is the unit that is drawn,
    and the standard error is that of a ratio estimator of the paired differences.
    """
    others = {pane["pane_end"]: pane for pane in theirs["by_pane"]}
    paired = [
        (pane[figure] - others[pane["pane_end"]][figure], pane["scored"])
        for pane in ours["by_pane"]
        if pane["scored"] and others.get(pane["pane_end"], {}).get("scored") == pane["scored"]
    ]
    n_panes, scored = len(paired), sum(n for _, n in paired)
    if not paired:
        return None
    mean = sum(hits for hits, _ in paired) / scored
    if n_panes < _MIN_PANES:
        return Difference(mean, None, n_panes)
    from scipy.special import stdtrit  # takes a while to import

    residual = sum((hits - mean * n) ** 2 for hits, n in paired)
    error = math.sqrt(residual * n_panes / (n_panes - 1)) / scored
    return Difference(mean, float(stdtrit(n_panes - 1, 0.975)) * error, n_panes)


def result_sentence(name: str, run: Summary) -> str:
    """Say what one policy reached and what it spent."""
    calls = counted(run["incremental_calls"], "incremental LLM call")
    first = f"{whole(run['first_table_calls'])} for the first table"
    if run["hit_rate_next"] is None:
        return f"{name} scored nothing (no table served any transition), with {calls} after {first}."
    return (
        f"{name} reached a next-hit rate of {decimal(run['hit_rate_next'])} "
        f"({decimal(run['hit_information_bits'])} bits of hit information) with {calls} after {first}."
    )


def comparison_sentence(name: str, runs: Mapping[str, Summary]) -> str:
    """Say how the report's subject compares with policy `name`, and whether panes prove it."""
    subject = subject_of(runs)
    ours, theirs = runs[subject], runs[name]
    reached = (
        f"{name} reached {decimal(theirs['hit_rate_next'])} ({decimal(theirs['hit_information_bits'])} bits) "
        f"with {counted(theirs['incremental_calls'], 'incremental call')}"
    )
    found = difference(ours, theirs)
    if found is None:
        return f"{reached}: no pane scored both, so the two cannot be compared."
    return f"{reached}: {judgement(subject, found)}, {spending(ours, theirs)}.{_popularity(subject, found, runs, name)}"


def judgement(subject: str, found: Difference) -> str:
    """Say whether panes prove the subject's hit rate better or worse than what it was compared with."""
    size = f"{abs(found.mean):.4f}"
    over = f"over {counted(found.n_panes, 'pane')}"
    if found.margin is None:
        side = "the same" if found.mean == 0 else f"{size} {'higher' if found.mean > 0 else 'lower'}"
        return f"{subject} is {side} {over}, too few to tell that from noise"
    interval = f"95 % interval {found.mean - found.margin:+.4f} to {found.mean + found.margin:+.4f} {over}"
    if found.is_proven:
        return f"{subject} is {'better' if found.mean > 0 else 'worse'} by {size} ({interval})"
    return f"{subject} is not told apart from it (difference {found.mean:+.4f}, {interval})"


def spending(ours: Summary, theirs: Summary) -> str:
    """Say what share of the other's incremental calls ours spent."""
    spent, other = ours["incremental_calls"], theirs["incremental_calls"]
    if spent == other:
        return "at the same number of calls"
    if spent > other:
        return f"for {counted(spent - other, 'call')} more"
    return "for no calls at all" if spent == 0 else f"at {100 * spent / other:.1f} % of the calls"


def _popularity(subject: str, found: Difference, runs: Mapping[str, Summary], name: str) -> str:
    """Warn where hits were bought with popular clusters: more hits, less information."""
    ours, theirs = runs[subject]["hit_information_bits"], runs[name]["hit_information_bits"]
    if ours is None or theirs is None or found.mean * (ours - theirs) >= 0:
        return ""
    more, less = (subject, name) if found.mean > 0 else (name, subject)
    return f" {more} hits more often but carries less hit information than {less}: part of its hits are popularity."


def drift_sentence(run: Summary) -> str:
    """Say whether the log drifted beyond what its traffic alone would show."""
    reports = run["reports"]
    if not reports:
        return "Drift was not measured: no window had a full window before it to be compared with."
    judged = [report for report in reports if report["pairs"]]
    if not judged:
        windows = counted(len(reports), "window")
        return f"Drift could not be judged in {windows}: no pair had enough transitions on both sides."
    alarmed = [report for report in judged if report["alarmed"]]
    over = counted(len(judged), "window")
    if len(judged) < len(reports):
        over += f" ({len(reports) - len(judged)} more had no pair with enough transitions)"
    if not alarmed:
        return f"No drift beyond noise was found in {over}{_no_drift_note(judged)}."
    return f"Drift beyond noise was found in {len(alarmed)} of {over}: {_alarm_note(alarmed)}."


def _no_drift_note(judged: Sequence[Summary]) -> str:
    keys = ("jaccard_matched_mean", "null_mean")
    known = [report for report in judged if all(report[key] is not None for key in keys)]
    if not known:
        return ""
    # By pairs: a window with one pair says next to nothing, and would stand for as much as one with a thousand.
    n_pairs = sum(report["pairs"] for report in known)
    matched, null = (sum(report[key] * report["pairs"] for report in known) / n_pairs for key in keys)
    return f"; the Jaccard averaged {decimal(matched)} where the same traffic without drift shows {decimal(null)}"


def _alarm_note(alarmed: Sequence[Summary]) -> str:
    ends = [day(report["window_end"]) for report in alarmed]
    span = f"that ending {ends[0]}" if len(ends) == 1 else f"the first ending {ends[0]}, the last {ends[-1]}"
    known = [report for report in alarmed if report["drift_mean"] is not None]
    if not known:
        return span
    worst = max(known, key=lambda report: float(report["drift_mean"]))
    return f"{span}; mean drift reached {decimal(worst['drift_mean'])} (window ending {day(worst['window_end'])})"


def flag_sentence(run: Summary) -> str:
    """Say whether new weights were asked for, and why."""
    flags = run["flags"]
    if not flags:
        return "No fine-tune was flagged."
    listed = "; ".join(
        f"{flag['reason'].replace('_', ' ')}, window ending {day(flag['window_end'])}" for flag in flags[:_LISTED]
    )
    listed += f"; and {len(flags) - _LISTED:,} more" if len(flags) > _LISTED else ""
    return f"{counted(len(flags), 'fine-tune flag')} raised for a person to decide: {listed}."


def refused_sentence(run: Summary) -> str:
    """Say which refreshes were not published, and why: those of gates wait for a person, the others are tried again."""
    refused = run["refused"]
    last = refused[-1]
    n_gates = sum(each["outcome"] == "gate_failed" for each in refused)
    kinds = [f"{n_gates:,} by a gate"] if n_gates else []
    kinds += [f"{len(refused) - n_gates:,} by a failure"] if n_gates < len(refused) else []
    noun = "refresh" if len(refused) == 1 else "refreshes"
    return (
        f"{len(refused):,} {noun} not published ({', '.join(kinds)}), the table before went on serving; "
        f"the last for the window ending {day(last['window_end'])}: {last['why']}."
    )


def verdict(runs: Mapping[str, Summary]) -> list[str]:
    """Sum a report up: the subject's result, each comparison, drift and flags, a sentence each."""
    subject = subject_of(runs)
    return [
        result_sentence(subject, runs[subject]),
        *(comparison_sentence(name, runs) for name in runs if name != subject),
        drift_sentence(runs[subject]),
        flag_sentence(runs[subject]),
    ]


def set_aside(run: Summary) -> int:
    """Count the records that did not enter the counts, apart from those that are merely not positive."""
    return sum(n for outcome, n in run["outcomes"].items() if outcome not in ("counted", "negative"))
