"""What policies reach over what they spend: a point each, and a curve through the prices of the adaptive policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from monitoring.backtest_kinds import Kind, by_kind, kind_of
from monitoring.drawing import INK, SERIES, canvas, legend_above, report_style, scale_log, svg_of
from monitoring.point_labels import label_points
from monitoring.wording import Summary

LABELS: Mapping[Kind, str] = {
    Kind.ADAPTIVE: "adaptive",
    Kind.FREE: "no further call",
    Kind.CALENDAR: "calendar",
    Kind.TRIGGER: "detector, budget",
    Kind.OWN: "our estimator (+own)",
    Kind.ORACLE: "in hindsight",
}
COLORS: Mapping[Kind, str] = {
    Kind.ADAPTIVE: SERIES[0],
    Kind.FREE: SERIES[2],
    Kind.CALENDAR: SERIES[1],
    Kind.TRIGGER: SERIES[3],
    Kind.OWN: SERIES[4],
    Kind.ORACLE: INK,
}
MARKERS: Mapping[Kind, str] = {
    Kind.ADAPTIVE: "o",
    Kind.FREE: "s",
    Kind.CALENDAR: "^",
    Kind.TRIGGER: "D",
    Kind.OWN: "v",
    Kind.ORACLE: "*",
}
_FIGURES = (
    ("hit_rate_next", "Next-hit rate\n(hits / scored transitions)"),
    ("hit_information_bits", "Hit information\n(bits / scored transition)"),
)
_ROOM = 6.0  # the horizontal axis goes on to this multiple of the most calls, for labels


def frontier_svg(summary: Summary) -> str:
    """Draw next-hit rate and hit information over incremental calls; on a log scale, with 0 on it."""
    runs = summary["policies"]
    groups = by_kind(runs)
    with report_style():
        figure, panels = canvas(len(_FIGURES))
        figure.set_figheight(9.0)
        for axes, (key, label) in zip(panels, _FIGURES, strict=True):
            handles = [_draw_kind(axes, kind, [runs[name] for name in names], key) for kind, names in groups.items()]
            axes.set_ylabel(label)
            axes.margins(y=0.12)
            if axes is panels[0]:
                legend_above(axes, handles)
        _scale_calls(panels[-1], [run["incremental_calls"] for run in runs.values()])
        panels[-1].set_xlabel("Incremental LLM calls (log scale, with 0)")
        figure.align_ylabels()
        figure.draw_without_rendering()
        for axes, (key, _) in zip(panels, _FIGURES, strict=True):
            label_points(
                axes,
                {name: (run["incremental_calls"], run[key]) for name, run in runs.items()},
                {name: COLORS[kind_of(name)] for name in runs},
            )
        described = " ".join(
            f"{name}: {run['incremental_calls']:,} calls, {run['hit_rate_next']:.3f}, "
            f"{run['hit_information_bits']:.3f} bits."
            for name, run in runs.items()
        )
        return svg_of(figure, "frontier", "Hits and information over incremental calls, by policy", described)


def _draw_kind(axes: Axes, kind: Kind, runs: Sequence[Summary], key: str) -> Line2D:
    """Draw the points of a kind; those of the adaptive policy are the points of one curve."""
    ordered = sorted(runs, key=lambda run: (run["incremental_calls"], run[key]))
    is_curve = kind is Kind.ADAPTIVE and len(ordered) > 1
    (line,) = axes.plot(
        [run["incremental_calls"] for run in ordered],
        [run[key] for run in ordered],
        color=COLORS[kind],
        marker=MARKERS[kind],
        markersize=11 if kind is Kind.ORACLE else 7,
        linestyle="-" if is_curve else "",
        label=LABELS[kind],
        clip_on=False,
        zorder=4 if kind is Kind.ADAPTIVE else 3,
    )
    return line


def _scale_calls(axes: Axes, calls: Sequence[int]) -> None:
    spent = [n for n in calls if n]
    if spent:
        scale_log(axes, "x", min(spent), max(spent))
        axes.set_xlim(0, max(spent) * _ROOM)
    else:
        axes.set_xlim(-0.05, 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
