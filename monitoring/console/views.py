"""From facts to what a page shows: rows, figures and charts, all of it plain values that templates write down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from monitoring.console import words
from monitoring.console.charts import Chart, Mark, Series, draw
from monitoring.console.facts import PaneFacts
from monitoring.wording import counted, decimal
from tidegate.contracts import DriftReport, PairDrift

FILTERS = {
    "all": "All",
    "refresh": "Refreshes",
    "refused": "Not served",
    "nothing": "Nothing to do",
    "flag": "Flags for new weights",
}
"""Which decisions are shown, and how the choice is called."""
_BEFORE_PANES = 7


@dataclass(frozen=True, slots=True)
class PairRow:
    """One pair that drifts, by name."""

    c1: str
    c2: str
    pair: PairDrift
    meaning: str
    is_of_front: bool = False


@dataclass(frozen=True, slots=True)
class HitRate:
    """Hit rate of the last scored pane, and the mean of some before it; None where nothing was scored."""

    now: float | None
    before: float | None
    n_before: int


def name_of(names: Sequence[str], cluster: int) -> str:
    """Name a cluster; ids that no name is known of stay ids."""
    return names[cluster] if 0 <= cluster < len(names) else f"cluster {cluster}"


def drifted_pairs(report: DriftReport | None, names: Sequence[str]) -> list[PairRow]:
    """List the pairs that drift, the busiest first; those of the newest pane alone after those of the window."""
    if report is None:
        return []
    of_window = {(pair.c1, pair.c2): (pair, False) for pair in report.flagged}
    front = report.front.flagged if report.front is not None else ()
    of_front = {(pair.c1, pair.c2): (pair, True) for pair in front if (pair.c1, pair.c2) not in of_window}
    ordered = sorted((of_window | of_front).values(), key=lambda each: (each[1], -each[0].n_window, each[0].p_value))
    return [
        PairRow(name_of(names, pair.c1), name_of(names, pair.c2), pair, words.drift_in_words(pair), is_of_front)
        for pair, is_of_front in ordered
    ]


def hit_rate(panes: Sequence[PaneFacts], kind: str) -> HitRate:
    """Hit rate, ``next`` or ``sequence``, now and before."""
    scored = [pane for pane in panes if pane.scored]
    if not scored:
        return HitRate(None, None, 0)
    before = scored[-1 - _BEFORE_PANES : -1]
    total = sum(pane.scored for pane in before)
    hits = sum(_hits(pane, kind) for pane in before)
    return HitRate(_hits(scored[-1], kind) / scored[-1].scored, hits / total if total else None, len(before))


def _hits(pane: PaneFacts, kind: str) -> int:
    return pane.hits_next if kind == "next" else pane.hits_sequence


def chosen(panes: Sequence[PaneFacts], show: str) -> list[PaneFacts]:
    """Decisions that a filter lets through, the newest first."""
    found = [pane for pane in reversed(panes) if pane.explanation is not None]
    if show == "refresh":
        return [pane for pane in found if pane.action == "refresh"]
    if show == "refused":
        return [pane for pane in found if pane.is_refused]
    if show == "nothing":
        return [pane for pane in found if pane.action in ("nothing", "backoff")]
    if show == "flag":
        return [pane for pane in found if pane.flag is not None]
    return found


def drift_chart(panes: Sequence[PaneFacts]) -> Markup | None:
    """Draw what windows share with those before, and what they would without drift."""
    shown = [pane for pane in panes if pane.report is not None]
    if not shown:
        return None
    reports = [pane.report for pane in shown if pane.report is not None]
    rings = [at for at, pane in enumerate(shown) if pane.is_drifting]
    return draw(
        Chart(
            name="drift",
            title="Drift against no drift, by window",
            description=(
                f"{_range('Found', [report.jaccard_matched_mean for report in reports])} "
                f"{_range('Without drift', [report.null_mean for report in reports])} "
                f"{counted(len(rings), 'window')} of {len(shown)} beyond noise."
            ),
            ends_ms=[pane.end_ms for pane in shown],
            series=(
                Series("found", "found", [report.jaccard_matched_mean for report in reports]),
                Series("no drift", "null", [report.null_mean for report in reports]),
            ),
            rings=rings,
        )
    )


def hits_chart(panes: Sequence[PaneFacts]) -> Markup | None:
    """Draw both hit rates, with what was done about them."""
    shown = [pane for pane in panes if pane.scored or pane.order is not None]
    if not shown:
        return None
    rates = {
        kind: [_hits(pane, kind) / pane.scored if pane.scored else None for pane in shown]
        for kind in ("sequence", "next")
    }
    return draw(
        Chart(
            name="hits",
            title="Hit rates, by pane",
            description=" ".join(_range(f"{kind.capitalize()}-hit rate", values) for kind, values in rates.items()),
            ends_ms=[pane.end_ms for pane in shown],
            series=tuple(Series(kind, kind, values) for kind, values in rates.items()),
            marks=[mark for at, pane in enumerate(shown) for mark in _marks(at, pane)],
        )
    )


def _marks(at: int, pane: PaneFacts) -> list[Mark]:
    end = words.instant(pane.end_ms)
    found = []
    if pane.order is not None and pane.result is not None:
        css = "refused" if pane.is_refused else "refresh"
        calls = counted(pane.result.llm_calls, "call")
        found.append(Mark(at, css, f"refresh, {words.outcome(pane.result.outcome)}, {calls}, {end}"))
    if pane.flag is not None:
        found.append(Mark(at, "flag", f"new weights asked for, {end}"))
    return found


def _range(name: str, values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return f"{name}: not known."
    return f"{name}: {decimal(min(known))} to {decimal(max(known))}, last {decimal(known[-1])}."
