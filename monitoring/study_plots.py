"""Figures of a study; `monitoring.drawing` has how they look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, PercentFormatter

from monitoring.drawing import (
    MARKERS,
    SERIES,
    canvas,
    days_of,
    draw_series,
    finish_times,
    instant_of,
    legend_above,
    range_in_words,
    report_style,
    svg_of,
)
from monitoring.study_of_model import WAYS
from monitoring.wording import Summary

MAPPINGS = {
    "fixed": "fixed",
    "refreshed": "refreshed",
    "day_1_held": "day 1 held",
    "backoff": "backoff (no call)",
    "popular": "popular (no call)",
}
_SHOWN_DEPTHS = (1, 3, 5, 10)
_GROUPS = ("all", "dense", "thin", "unseen")


def adjacent_svg(study: Summary) -> str | None:
    """Draw the Jaccard of adjacent windows and what no drift would show; None without a compared pair."""
    windows = study["adjacent"]["windows"]
    if not study["adjacent"]["pairs"]:
        return None
    ends = [instant_of(window["window_end"]) for window in windows]
    columns = {
        "all transitions": "jaccard_mean",
        "matched counts": "matched_mean",
        "no drift (J0)": "null_mean",
        "all pairs, however thin": "all_jaccard_mean",
    }
    with report_style():
        figure, (axes,) = canvas(1)
        handles = [
            draw_series(axes, label, i, ends, [window[column] for window in windows])
            for i, (label, column) in enumerate(columns.items())
        ]
        axes.set_ylabel("Mean Jaccard of\ntop-5 sets (ratio)")
        axes.set_ylim(bottom=0)
        _finish_windows(figure, axes, ends)
        legend_above(axes, handles)
        words = " ".join(range_in_words(label, [each[key] for each in windows]) for label, key in columns.items())
        return svg_of(figure, "adjacent", "Top-5 Jaccard of adjacent windows", words)


def trajectories_svg(study: Summary) -> str | None:
    """Draw next-hit rates of mappings by pane; None where nothing was scored."""
    runs = study["trajectories"]
    if not runs["fixed"]["scored"]:
        return None
    rates = {
        label: [pane["hits_next"] / pane["scored"] if pane["scored"] else None for pane in runs[name]["by_pane"]]
        for name, label in MAPPINGS.items()
    }
    ends = [instant_of(pane["pane_end"]) for pane in runs["fixed"]["by_pane"]]
    with report_style():
        figure, (axes,) = canvas(1)
        handles = [draw_series(axes, label, i, ends, values) for i, (label, values) in enumerate(rates.items())]
        axes.set_ylabel("Next-hit rate\n(hits / scored transitions)")
        axes.set_ylim(bottom=0)
        finish_times(figure, axes, "Pane end (UTC)")
        legend_above(axes, handles)
        words = " ".join(range_in_words(label, values) for label, values in rates.items())
        return svg_of(figure, "trajectories", "Next-hit rate of mappings by pane", words)


def persistence_svg(study: Summary) -> str | None:
    """Draw shares of equal top-k lists by window, above, and with their null, below; None without a pair."""
    windows = study["persistence"]["windows"]
    if all(window["all_users"]["exact"] is None for window in windows):
        return None
    ends = [instant_of(window["window_end"]) for window in windows]
    by_depth = {f"top {k}": _at_depth(windows, "all_users", k) for k in _SHOWN_DEPTHS}
    top_1 = {
        "floor: halves, same window": _at_depth(windows, "floor", 1),
        "half: halves, first against later": _at_depth(windows, "half", 1),
    }
    with report_style():
        figure, (upper, lower) = canvas(2)
        handles = [draw_series(upper, label, i, ends, values) for i, (label, values) in enumerate(by_depth.items())]
        null = [draw_series(lower, label, i, ends, values) for i, (label, values) in enumerate(top_1.items())]
        upper.set_ylabel("Pairs with the first\nwindow's top k")
        lower.set_ylabel("Equal top 1\nbetween halves")
        for axes in (upper, lower):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.set_ylim(bottom=0)
        _finish_windows(figure, lower, ends)
        legend_above(upper, handles)
        legend_above(lower, null)
        words = " ".join(range_in_words(label, values) for label, values in (by_depth | top_1).items())
        return svg_of(figure, "persistence", "Exact match of the top k with the first window", words)


def comparison_svg(study: Summary) -> str | None:
    """Draw hit rate and information of every way to answer by group of pairs; None where nothing was scored."""
    groups = study["comparison"]["groups"]
    shown = [group for group in _GROUPS if groups[group]["ways"]["backoff"]["transitions"]]
    if not shown:
        return None
    ways = [way for way in WAYS if way in groups["all"]["ways"]]
    with report_style():
        figure, (upper, lower) = canvas(2)
        for axes, figure_name, label in (
            (upper, "hit_rate", "Next-hit rate\n(hits / transitions)"),
            (lower, "hit_information_bits", "Hit information\n(bits)"),
        ):
            handles = [
                _draw_estimates(
                    axes,
                    WAYS[way],
                    i,
                    [at + 0.11 * (i - (len(ways) - 1) / 2) for at in range(len(shown))],
                    [groups[group]["ways"][way][figure_name] for group in shown],
                )
                for i, way in enumerate(ways)
            ]
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
        lower.xaxis.set_major_locator(FixedLocator(list(range(len(shown)))))
        lower.xaxis.set_major_formatter(FuncFormatter(lambda at, _: shown[round(at)] if 0 <= at < len(shown) else ""))
        lower.set_xlabel("Pairs, by their transitions in the window before")
        figure.align_ylabels()
        legend_above(upper, handles)
        words = " ".join(
            f"{WAYS[way]}: {groups['all']['ways'][way]['hit_rate']['mean']:.4f} over all pairs." for way in ways
        )
        return svg_of(figure, "comparison", "Hit rate and information by way to answer", words)


def retrieval_svg(study: Summary) -> str | None:
    """Draw how often the next cluster was among the n retrieved; None where nothing was scored."""
    ways = study["retrieval"]["ways"]
    if ways[0]["among"]["hit_rate"] is None:
        return None
    series: dict[str, list[Mapping[str, float]]] = {}
    for way in ways:
        series.setdefault(f"{way['level']}, {way['kind']}", []).append(way["among"]["hit_rate"])
    depths = sorted({int(way["top_n"]) for way in ways})
    with report_style():
        figure, (axes,) = canvas(1)
        handles = [
            _draw_estimates(axes, label, i, [n + 0.08 * (i - 2.5) for n in depths], estimates)
            for i, (label, estimates) in enumerate(series.items())
        ]
        axes.xaxis.set_major_locator(FixedLocator(depths))
        axes.set_xlabel("Retrieved clusters n")
        axes.set_ylabel("Next cluster among them\n(share of transitions)")
        axes.set_ylim(bottom=0)
        legend_above(axes, handles)
        words = " ".join(
            f"{label}: {', '.join(format(each['mean'], '.3f') for each in estimates)} for n = {depths}."
            for label, estimates in series.items()
        )
        return svg_of(figure, "retrieval", "How often the next cluster is retrieved", words)


def _finish_windows(figure: Figure, axes: Axes, ends: Sequence[datetime]) -> None:
    """Label the axis of windows; one alone would have the axis span years."""
    if len(ends) == 1:
        around = timedelta(days=3)
        axes.set_xlim(*days_of([ends[0] - around, ends[0] + around]))
    finish_times(figure, axes, "Window end (UTC)")


def _at_depth(windows: Sequence[Summary], side: str, k: int) -> list[float | None]:
    return [None if window[side]["exact"] is None else window[side]["exact"][k - 1] for window in windows]


def _draw_estimates(
    axes: Axes, label: str, i: int, places: Sequence[float], estimates: Sequence[Mapping[str, float] | None]
) -> Line2D:
    """Draw means with their intervals as points, and return what stands for them in a legend."""
    means = [float("nan") if each is None else each["mean"] for each in estimates]
    margins = [0.0 if each is None or each["margin"] is None else each["margin"] for each in estimates]
    drawn: ErrorbarContainer = axes.errorbar(
        places,
        means,
        yerr=margins,
        color=SERIES[i % len(SERIES)],
        marker=MARKERS[i % len(MARKERS)],
        linestyle="",
        capsize=3,
        label=label,
    )
    line = drawn.lines[0]
    line.set_label(label)
    return line
