"""Figures of a study's arms: hit rates over panes with fine-tunes marked, and hits over seconds of a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from monitoring.drawing import (
    MARKERS,
    SERIES,
    days_of,
    draw_series,
    finish_times,
    instant_of,
    legend_above,
    range_in_words,
    report_style,
    svg_of,
)
from monitoring.point_labels import label_points
from monitoring.wording import Summary

_ROOM = 30.0  # the horizontal axis goes on to this multiple of the most, for labels


def arms_svg(study: Summary) -> str | None:
    """Draw both; None where no arm was played."""
    found = study.get("arms")
    if found is None:
        return None
    arms = found["arms"]
    with report_style():
        figure = Figure(figsize=(8.6, 7.6), layout=ConstrainedLayoutEngine(h_pad=0.08))
        upper, lower = figure.subplots(2, 1)
        handles = [_draw_rates(upper, name, i, arm) for i, (name, arm) in enumerate(arms.items())]
        upper.set_ylabel("Next-hit rate\n(hits / scored transitions)")
        upper.set_ylim(bottom=0)
        finish_times(figure, upper, "Pane end (UTC)")
        legend_above(upper, handles)
        _draw_costs(lower, arms)
        figure.align_ylabels()
        figure.draw_without_rendering()
        label_points(
            lower,
            {name: (_seconds(arm), arm["hit_rate_next"]) for name, arm in arms.items()},
            {name: SERIES[i % len(SERIES)] for i, name in enumerate(arms)},
        )
        words = " ".join(_described(name, arm) for name, arm in arms.items())
        return svg_of(figure, "arms", "Hit rates of arms by pane, and over GPU-seconds", words)


def _draw_rates(axes: Axes, name: str, i: int, arm: Summary) -> Line2D:
    """Draw an arm's hit rates, and a star at each pane whose table is the first of new weights."""
    ends = [instant_of(pane["pane_end"]) for pane in arm["by_pane"]]
    rates = _rates(arm)
    line = draw_series(axes, name, i, ends, rates)
    by_end = dict(zip(ends, rates, strict=True))
    taken = [instant_of(each["taken_on"]) for each in arm["fine_tunes"] if each["taken_on"]]
    marked = [end for end in taken if by_end.get(end) is not None]
    axes.plot(
        days_of(marked),
        [by_end[end] or 0.0 for end in marked],
        color=SERIES[i % len(SERIES)],
        linestyle="",
        marker="*",
        markersize=13,
        zorder=4,
    )
    return line


def _draw_costs(axes: Axes, arms: Summary) -> None:
    """Draw a point an arm, over a log scale with 0 on it."""
    seconds = [_seconds(arm) for arm in arms.values()]
    for i, arm in enumerate(arms.values()):
        axes.plot(
            [_seconds(arm)], [arm["hit_rate_next"]], color=SERIES[i % len(SERIES)], marker=MARKERS[i], linestyle=""
        )
    _scale_seconds(axes, seconds)
    axes.set_xlabel("GPU-seconds after the start (log scale, with 0)")
    axes.set_ylabel("Next-hit rate\n(over all panes)")
    axes.margins(y=0.2)


def _scale_seconds(axes: Axes, seconds: Sequence[float]) -> None:
    """Scale by decades from that of the least above 0 on."""
    above = [each for each in seconds if each > 0] or [1.0]
    lowest, highest = math.floor(math.log10(min(above))), math.ceil(math.log10(max(above)))
    axes.set_xscale("symlog", linthresh=10.0**lowest)
    axes.xaxis.set_major_locator(FixedLocator([0.0, *(10.0**decade for decade in range(lowest, highest + 1))]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, 10.0**highest * _ROOM)


def _rates(arm: Summary) -> list[float | None]:
    return [pane["hits_next"] / pane["scored"] if pane["scored"] else None for pane in arm["by_pane"]]


def _seconds(arm: Summary) -> float:
    return float(arm["gpu_seconds"]["later"]["total"])


def _described(name: str, arm: Summary) -> str:
    return f"{range_in_words(name, _rates(arm))} {_seconds(arm):.3g} GPU-seconds after the start."
