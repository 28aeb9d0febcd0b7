"""Figures of the report of a run, or of one log under several policies; `monitoring.drawing` has how they look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from monitoring.drawing import (
    ALARM,
    DENSE,
    FLAG,
    INK,
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
from monitoring.wording import Summary, printable

_LOG_RATIO = 20  # beyond it the small series would lie on the axis of a linear scale


def hit_rate_svg(runs: Mapping[str, Summary]) -> str | None:
    """Draw the next-hit rate by pane, a line per policy; None where no pane was scored."""
    series = {name: _hit_rates(run) for name, run in runs.items()}
    if not any(rate is not None for _, rates in series.values() for rate in rates):
        return None
    with report_style():
        figure, (axes,) = canvas(1)
        handles = [
            draw_series(axes, printable(name), i, ends, rates) for i, (name, (ends, rates)) in enumerate(series.items())
        ]
        axes.set_ylabel("Next-hit rate\n(hits / scored transitions)")
        finish_times(figure, axes, "Pane end (UTC)")
        legend_above(axes, handles)
        described = " ".join(range_in_words(name, rates) for name, (_, rates) in series.items())
        return svg_of(figure, "hits", "Next-hit rate by pane and policy", described)


def calls_svg(runs: Mapping[str, Summary]) -> str | None:
    """Draw the LLM calls so far, a staircase per policy, the first table's among them; None without a pane.

    The scale is logarithmic, with 0 on it, where the totals differ by more than 20 times.
    """
    series = {name: _cumulative_calls(run) for name, run in runs.items()}
    totals = [calls[-1] for _, calls in series.values() if calls]
    if not totals:
        return None
    with report_style():
        figure, (axes,) = canvas(1)
        handles = [
            draw_series(axes, printable(name), i, ends, calls, drawstyle="steps-post")
            for i, (name, (ends, calls)) in enumerate(series.items())
        ]
        is_log = max(totals) > _LOG_RATIO * max(1, min(totals))
        if is_log:
            scale_log(axes, "y", min(next(filter(None, calls), 1) for _, calls in series.values()), max(totals))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(0, max(1, *totals) * 1.08)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_ylabel(f"LLM calls so far\n(rows asked for{', log scale' if is_log else ''})")
        finish_times(figure, axes, "Pane end (UTC)")
        legend_above(axes, handles)
        described = " ".join(
            f"{name}: {calls[-1] if calls else 0:,} calls in all." for name, (_, calls) in series.items()
        )
        return svg_of(figure, "calls", "Cumulative LLM calls by policy", described)


def drift_svg(run: Summary) -> str | None:
    """Draw Jaccard against what no drift would show, and drift below it; None without a compared pair."""
    reports = run["reports"]
    if not any(report["jaccard_mean"] is not None or report["drift_mean"] is not None for report in reports):
        return None
    ends = [instant_of(report["window_end"]) for report in reports]
    with report_style():
        figure, (upper, lower) = canvas(2)
        matched = draw_series(upper, "J at matched counts", 0, ends, _column(reports, "jaccard_matched_mean"))
        null = draw_series(upper, "J0, the same without drift", 1, ends, _column(reports, "null_mean"))
        raw = draw_series(upper, "raw J, all counts", 4, ends, _column(reports, "jaccard_mean"))
        upper.set_ylabel("Mean Jaccard of\ntop-5 sets (ratio)")
        plain = draw_series(lower, "mean over pairs", 2, ends, _column(reports, "drift_mean"))
        traffic = draw_series(lower, "weighted by traffic", 3, ends, _column(reports, "drift_traffic_mean"))
        lower.axhline(0, color=INK, linewidth=0.8)
        lower.set_ylabel("Drift 1 − J/J0\n(ratio, 0 = none)")
        marks = _mark_alarms(lower, ends, reports) + _mark_flags((upper, lower), run["flags"])
        finish_times(figure, lower, "Window end (UTC)")
        legend_above(upper, [matched, null, raw])
        legend_above(lower, [plain, traffic, *marks])
        n_alarmed = sum(report["alarmed"] for report in reports)
        described = (
            f"{range_in_words('Raw Jaccard', _column(reports, 'jaccard_mean'))} "
            f"{range_in_words('Drift', _column(reports, 'drift_mean'))} {n_alarmed} of {len(reports)} windows alarmed; "
            f"{len(run['flags'])} fine-tune flags."
        )
        return svg_of(figure, "drift", "Drift by window", described)


def _mark_alarms(axes: Axes, ends: Sequence[datetime], reports: Sequence[Summary]) -> list[Line2D]:
    alarmed = [
        (end, report["drift_mean"] or 0.0) for end, report in zip(ends, reports, strict=True) if report["alarmed"]
    ]
    if not alarmed:
        return []
    size = 12 if len(ends) <= DENSE else 5
    style: dict[str, Any] = {"marker": "o", "markersize": size, "markerfacecolor": "none", "linestyle": ""}
    return axes.plot(
        days_of([end for end, _ in alarmed]),
        [height for _, height in alarmed],
        color=ALARM,
        markeredgewidth=size / 7,
        label="window drifts beyond noise",
        zorder=4,
        **style,
    )


def _mark_flags(panels: Sequence[Axes], flags: Sequence[Summary]) -> list[Line2D]:
    lines = [
        axes.axvline(days_of([instant_of(flag["window_end"])])[0], color=FLAG, linestyle="-.", linewidth=1.4)
        for axes in panels
        for flag in flags
    ]
    for line in lines[:1]:
        line.set_label("fine-tune flag")
    return lines[:1]


def _hit_rates(run: Summary) -> tuple[list[datetime], list[float | None]]:
    panes = run["by_pane"]
    rates = [pane["hits_next"] / pane["scored"] if pane["scored"] else None for pane in panes]
    return [instant_of(pane["pane_end"]) for pane in panes], rates


def _cumulative_calls(run: Summary) -> tuple[list[datetime], list[int]]:
    total, calls = 0, []
    for pane in run["by_pane"]:
        total += pane["llm_calls"]
        calls.append(total)
    return [instant_of(pane["pane_end"]) for pane in run["by_pane"]], calls


def _column(reports: Sequence[Summary], name: str) -> list[float | None]:
    return [report[name] for report in reports]
