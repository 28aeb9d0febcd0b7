"""Figures of a backtest over time: what each policy reached and spent by pane, drift by window, what was bought."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from monitoring.backtest_frontier import COLORS, LABELS
from monitoring.backtest_kinds import Kind, by_kind, kind_of
from monitoring.backtest_wording import strongest
from monitoring.drawing import (
    ALARM,
    DENSE,
    INK,
    SERIES,
    canvas,
    days_of,
    draw_series,
    finish_times,
    instant_of,
    legend_above,
    range_in_words,
    report_style,
    scale_log,
    svg_of,
)
from monitoring.point_labels import label_ends
from monitoring.wording import Summary, printable
from tidegate.contracts import Reason

_LOG_RATIO = 20  # beyond it the small series would lie on the axis of a linear scale
_NAME_ROOM = 0.2  # of the horizontal axis, for names at its end
_STROKES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_BAR_SHARE = 0.8  # of a pane's width
_REASON_COLORS: Mapping[str, str] = {
    Reason.FIRST_SIGHT: SERIES[2],
    Reason.EVIDENCE: SERIES[0],
    Reason.DRIFT: ALARM,
    Reason.FINE_TUNE: SERIES[3],
}
_Values: TypeAlias = Callable[[Summary], list[float | None]]


def hits_svg(summary: Summary, subject: str | None) -> str:
    """Draw the next-hit rate by pane, a panel per kind of policy, with the subject in each for comparison."""
    return _by_kind_svg(summary, subject, "hits", "Next-hit rate", _hit_rates)


def information_svg(summary: Summary, subject: str | None) -> str:
    """Draw the hit information by pane, as `hits_svg`."""
    return _by_kind_svg(summary, subject, "information", "Hit information\n(bits)", _information)


def _by_kind_svg(summary: Summary, subject: str | None, name: str, label: str, values: _Values) -> str:
    runs = summary["policies"]
    groups = {
        kind: [each for each in members if each != subject]
        for kind, members in by_kind(runs).items()
        if list(members) != [subject]
    } or {Kind.ADAPTIVE: []}
    with report_style():
        figure, panels = canvas(len(groups))
        for axes, (kind, members) in zip(panels, groups.items(), strict=True):
            handles = [] if subject is None else [_reference(axes, subject, runs[subject], values)]
            handles += [
                draw_series(axes, printable(each), i, _ends(runs[each]), values(runs[each]))
                for i, each in enumerate(members, start=1)
            ]
            axes.set_ylabel(label)
            legend_above(axes, handles)
            axes.set_title(LABELS[kind], loc="right", fontsize=9)
        finish_times(figure, panels[-1], "Pane end (UTC)")
        described = " ".join(range_in_words(each, values(run)) for each, run in runs.items())
        return svg_of(figure, name, f"{' '.join(label.split())} by pane and policy", described)


def _reference(axes: Axes, subject: str, run: Summary, values: _Values) -> Line2D:
    return draw_series(axes, printable(subject), 0, _ends(run), values(run), linewidth=2.4)


def entropy_svg(summary: Summary, subject: str | None) -> str:
    """Draw the entropy of what is served by pane, for the subject and the strongest policy of each kind."""
    runs = summary["policies"]
    best = [strongest(members, runs) for kind, members in by_kind(runs).items() if kind is not Kind.ADAPTIVE]
    names = dict.fromkeys(each for each in (subject, *best) if each is not None)
    with report_style():
        figure, (axes,) = canvas(1)
        handles = [
            draw_series(axes, printable(each), i, _ends(runs[each]), _entropies(runs[each]))
            for i, each in enumerate(names)
        ]
        axes.set_ylabel("Entropy of what\nis served (bits)")
        axes.set_ylim(bottom=0)
        finish_times(figure, axes, "Pane end (UTC)")
        legend_above(axes, handles)
        described = " ".join(range_in_words(each, _entropies(runs[each])) for each in names)
        return svg_of(figure, "entropy", "Entropy of what is served by pane", described)


def calls_svg(summary: Summary) -> str | None:
    """Draw the LLM calls so far, the first table's among them, a staircase per policy that calls; None without one.

    The scale is logarithmic, with 0 on it, where the totals differ by more than 20 times.
    """
    runs = {name: run for name, run in summary["policies"].items() if run["llm_calls"]}
    if not runs:
        return None
    series = {name: _cumulative_calls(run) for name, run in runs.items()}
    totals = [calls[-1] for calls in series.values()]
    is_log = max(totals) > _LOG_RATIO * min(totals)
    with report_style():
        figure, (axes,) = canvas(1)
        figure.set_figheight(5.4)
        handles = [
            _staircase(axes, kind, i, _ends(runs[name]), series[name])
            for kind, names in by_kind(runs).items()
            for i, name in enumerate(names)
        ]
        if is_log:
            scale_log(axes, "y", min(next(filter(None, calls)) for calls in series.values()), max(totals))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(0, max(totals) * 1.08)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_ylabel(f"LLM calls so far{', log scale' if is_log else ''}")
        finish_times(figure, axes, "Pane end (UTC)")
        first, last = axes.get_xlim()
        axes.set_xlim(first, last + _NAME_ROOM * (last - first))
        legend_above(axes, list({str(handle.get_label()): handle for handle in reversed(handles)}.values())[::-1])
        figure.draw_without_rendering()
        lasts = {name: (days_of(_ends(runs[name]))[-1], calls[-1]) for name, calls in series.items()}
        label_ends(axes, lasts, {name: COLORS[kind_of(name)] for name in runs})
        described = " ".join(f"{name}: {calls[-1]:,} calls in all." for name, calls in series.items())
        return svg_of(figure, "calls", "Cumulative LLM calls by policy", described)


def _staircase(axes: Axes, kind: Kind, i: int, ends: Sequence[datetime], calls: Sequence[int]) -> Line2D:
    """Draw the `i`-th policy of its kind: the kind has the colour, and the name stands at the line's end."""
    (line,) = axes.plot(
        days_of(ends),
        calls,
        color=COLORS[kind],
        linestyle=_STROKES[i % len(_STROKES)],
        drawstyle="steps-post",
        label=LABELS[kind],
        zorder=4 if kind is Kind.ADAPTIVE else 3,
    )
    return line


def drift_svg(summary: Summary) -> str | None:
    """Draw drift by window, ringed where it alarms, and the pairs that it rests on; None where no window was judged."""
    windows = summary["drift"]
    means = [window["drift_mean"] for window in windows]
    if not any(mean is not None for mean in means):
        return None
    ends = [instant_of(window["window_end"]) for window in windows]
    alarmed = [(end, mean or 0.0) for end, mean, window in zip(ends, means, windows, strict=True) if window["alarmed"]]
    with report_style():
        figure, (upper, lower) = canvas(2)
        handles = [draw_series(upper, "mean over pairs", 2, ends, means)]
        upper.axhline(0, color=INK, linewidth=0.8)
        handles += _rings(upper, alarmed, 12 if len(ends) <= DENSE else 5)
        upper.set_ylabel("Drift 1 − J/J0\n(ratio, 0 = none)")
        legend_above(upper, handles)
        compared = draw_series(lower, "compared", 0, ends, [window["pairs"] for window in windows])
        flagged = draw_series(lower, "flagged", 1, ends, [window["flagged_pairs"] for window in windows])
        lower.yaxis.set_major_locator(MaxNLocator(integer=True))
        lower.set_ylim(bottom=0)
        lower.set_ylabel("Pairs")
        legend_above(lower, [compared, flagged])
        finish_times(figure, lower, "Window end (UTC)")
        described = f"{range_in_words('Drift', means)} {len(alarmed)} of {len(windows)} windows alarmed."
        return svg_of(figure, "drift", "Drift by window", described)


def _rings(axes: Axes, marked: Sequence[tuple[datetime, float]], size: int) -> list[Line2D]:
    if not marked:
        return []
    style: dict[str, Any] = {"marker": "o", "markersize": size, "markerfacecolor": "none", "linestyle": ""}
    return axes.plot(
        days_of([end for end, _ in marked]),
        [height for _, height in marked],
        color=ALARM,
        markeredgewidth=size / 7,
        label="window drifts beyond noise",
        zorder=4,
        **style,
    )


def purchases_svg(summary: Summary, subject: str) -> str | None:
    """Draw the rows that `subject` took after the first table, by reason and pane; None where it took none."""
    panes = summary["policies"][subject]["by_pane"]
    reasons = dict.fromkeys(reason for pane in panes for reason in pane["reasons"])
    if not reasons:
        return None
    ends = days_of([instant_of(pane["pane_end"]) for pane in panes])
    width = _BAR_SHARE * min((b - a for a, b in pairwise(ends)), default=1.0)
    floor = [0] * len(panes)
    with report_style():
        figure, (axes,) = canvas(1)
        handles = []
        for i, reason in enumerate(reasons):
            rows = [pane["reasons"].get(reason, 0) for pane in panes]
            color = _REASON_COLORS.get(reason, SERIES[i % len(SERIES)])
            axes.bar(ends, rows, width, bottom=floor, color=color, zorder=3)
            handles.append(Line2D([], [], color=color, linewidth=7, label=printable(reason.replace("_", " "))))
            floor = [below + n for below, n in zip(floor, rows, strict=True)]
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("Rows taken")
        finish_times(figure, axes, "Pane end (UTC)")
        legend_above(axes, handles)
        sums = {reason: sum(pane["reasons"].get(reason, 0) for pane in panes) for reason in reasons}
        described = f"{subject}: " + ", ".join(f"{n:,} by {reason}" for reason, n in sums.items()) + "."
        return svg_of(figure, "purchases", "Rows taken by reason and pane", described)


def _ends(run: Summary) -> list[datetime]:
    return [instant_of(pane["pane_end"]) for pane in run["by_pane"]]


def _hit_rates(run: Summary) -> list[float | None]:
    return [pane["hits_next"] / pane["scored"] if pane["scored"] else None for pane in run["by_pane"]]


def _information(run: Summary) -> list[float | None]:
    return [pane["hit_bits"] / pane["scored"] if pane["scored"] else None for pane in run["by_pane"]]


def _entropies(run: Summary) -> list[float | None]:
    return [pane["entropy_bits"] if pane["scored"] else None for pane in run["by_pane"]]


def _cumulative_calls(run: Summary) -> list[int]:
    """Sum calls up to each pane's end; those of the first table came before the first pane that is scored."""
    return list(accumulate((pane["llm_calls"] for pane in run["by_pane"]), initial=run["first_table_calls"]))[1:]
