"""The report's figures: drawn without a display, written as inline SVG that follows the page's colours.

Colours are drawn as stand-ins and written as CSS variables, so that one drawing serves light and dark pages.
Series differ by line and marker as well as by colour (Okabe and Ito's palette).
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from monitoring.wording import Summary, printable

_INK, _FAINT, _ALARM, _FLAG = "#010203", "#040506", "#070809", "#0a0b0c"
_SERIES = ("#0072b2", "#d55e00", "#009e73", "#b0588c", "#8a6d00", "#3a7ca5")
_VARIABLES = {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _ALARM: "var(--alarm)",
    _FLAG: "var(--flag)",
    **{color: f"var(--series-{i})" for i, color in enumerate(_SERIES, start=1)},
}
_STROKES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P")
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, selected and found
    "svg.hashsalt": "tidegate",
    "font.family": "sans-serif",
    "font.size": 11.0,
    "text.color": _INK,
    "text.parse_math": False,  # a policy's name is no formula
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}
_LOG_RATIO = 20  # beyond it the small series would lie on the axis of a linear scale
_DENSE = 60  # with more points the markers would hide their line
_LEGEND_COLUMNS = 3


def hit_rate_svg(runs: Mapping[str, Summary]) -> str | None:
    """Draw the next-hit rate by pane, a line per policy; None where no pane was scored."""
    series = {name: _hit_rates(run) for name, run in runs.items()}
    if not any(rate is not None for _, rates in series.values() for rate in rates):
        return None
    with _style():
        figure, (axes,) = _canvas(1)
        handles = [
            _draw(axes, printable(name), i, ends, rates) for i, (name, (ends, rates)) in enumerate(series.items())
        ]
        axes.set_ylabel("Next-hit rate\n(hits / scored transitions)")
        _finish(figure, axes, "Pane end (UTC)")
        _legend(axes, handles)
        described = " ".join(_described(name, rates) for name, (_, rates) in series.items())
        return _svg(figure, "hits", "Next-hit rate by pane and policy", described)


def calls_svg(runs: Mapping[str, Summary]) -> str | None:
    """Draw the LLM calls so far, a staircase per policy, the first table's among them; None without a pane.

    The scale is logarithmic, with 0 on it, where the totals differ by more than 20 times.
    """
    series = {name: _cumulative_calls(run) for name, run in runs.items()}
    totals = [calls[-1] for _, calls in series.values() if calls]
    if not totals:
        return None
    with _style():
        figure, (axes,) = _canvas(1)
        handles = [
            _draw(axes, printable(name), i, ends, calls, drawstyle="steps-post")
            for i, (name, (ends, calls)) in enumerate(series.items())
        ]
        is_log = max(totals) > _LOG_RATIO * max(1, min(totals))
        if is_log:
            _scale_log(axes, min(next(filter(None, calls), 1) for _, calls in series.values()), max(totals))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(0, max(1, *totals) * 1.08)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_ylabel(f"LLM calls so far\n(rows asked for{', log scale' if is_log else ''})")
        _finish(figure, axes, "Pane end (UTC)")
        _legend(axes, handles)
        described = " ".join(
            f"{name}: {calls[-1] if calls else 0:,} calls in all." for name, (_, calls) in series.items()
        )
        return _svg(figure, "calls", "Cumulative LLM calls by policy", described)


def drift_svg(run: Summary) -> str | None:
    """Draw Jaccard against what no drift would show, and drift below it; None without a compared pair."""
    reports = run["reports"]
    if not any(report["jaccard_mean"] is not None or report["drift_mean"] is not None for report in reports):
        return None
    ends = [_instant(report["window_end"]) for report in reports]
    with _style():
        figure, (upper, lower) = _canvas(2)
        matched = _draw(upper, "J at matched counts", 0, ends, _column(reports, "jaccard_matched_mean"))
        null = _draw(upper, "J0, the same without drift", 1, ends, _column(reports, "null_mean"))
        raw = _draw(upper, "raw J, all counts", 4, ends, _column(reports, "jaccard_mean"))
        upper.set_ylabel("Mean Jaccard of\ntop-5 sets (ratio)")
        plain = _draw(lower, "mean over pairs", 2, ends, _column(reports, "drift_mean"))
        traffic = _draw(lower, "weighted by traffic", 3, ends, _column(reports, "drift_traffic_mean"))
        lower.axhline(0, color=_INK, linewidth=0.8)
        lower.set_ylabel("Drift 1 − J/J0\n(ratio, 0 = none)")
        marks = _mark_alarms(lower, ends, reports) + _mark_flags((upper, lower), run["flags"])
        _finish(figure, lower, "Window end (UTC)")
        _legend(upper, [matched, null, raw])
        _legend(lower, [plain, traffic, *marks])
        n_alarmed = sum(report["alarmed"] for report in reports)
        described = (
            f"{_described('Raw Jaccard', _column(reports, 'jaccard_mean'))} "
            f"{_described('Drift', _column(reports, 'drift_mean'))} {n_alarmed} of {len(reports)} windows alarmed; "
            f"{len(run['flags'])} fine-tune flags."
        )
        return _svg(figure, "drift", "Drift by window", described)


def _style() -> Any:
    # The reader's own matplotlibrc would change the bytes.
    return matplotlib.style.context(["default", _STYLE])


def _canvas(n_panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(8.6, 1.0 + 2.7 * n_panels), layout=ConstrainedLayoutEngine(h_pad=0.08))
    panels = figure.subplots(n_panels, 1, sharex=True, squeeze=False)
    return figure, list(panels[:, 0])


def _draw(
    axes: Axes, label: str, i: int, ends: Sequence[datetime], values: Sequence[float | None], **more: Any
) -> Line2D:
    """Draw one series; a missing value breaks its line."""
    heights = [float("nan") if value is None else value for value in values]
    marker = _MARKERS[i % len(_MARKERS)] if len(ends) <= _DENSE else ""
    (line,) = axes.plot(
        _days(ends),
        heights,
        color=_SERIES[i % len(_SERIES)],
        linestyle=_STROKES[i % len(_STROKES)],
        marker=marker,
        label=label,
        clip_on=False,
        zorder=3,
        **more,
    )
    return line


def _scale_log(axes: Axes, first: int, most: int) -> None:
    """Scale by decades from the one of `first` on; below it nothing is to be told apart, so it is linear down to 0."""
    lowest, highest = int(math.log10(first)), math.ceil(math.log10(most))
    axes.set_yscale("symlog", linthresh=10**lowest)
    axes.yaxis.set_major_locator(FixedLocator([0, *(10**decade for decade in range(lowest, highest + 1))]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, most * 1.5)


def _mark_alarms(axes: Axes, ends: Sequence[datetime], reports: Sequence[Summary]) -> list[Line2D]:
    alarmed = [
        (end, report["drift_mean"] or 0.0) for end, report in zip(ends, reports, strict=True) if report["alarmed"]
    ]
    if not alarmed:
        return []
    size = 12 if len(ends) <= _DENSE else 5
    style: dict[str, Any] = {"marker": "o", "markersize": size, "markerfacecolor": "none", "linestyle": ""}
    return axes.plot(
        _days([end for end, _ in alarmed]),
        [height for _, height in alarmed],
        color=_ALARM,
        markeredgewidth=size / 7,
        label="window drifts beyond noise",
        zorder=4,
        **style,
    )


def _mark_flags(panels: Sequence[Axes], flags: Sequence[Summary]) -> list[Line2D]:
    lines = [
        axes.axvline(_days([_instant(flag["window_end"])])[0], color=_FLAG, linestyle="-.", linewidth=1.4)
        for axes in panels
        for flag in flags
    ]
    for line in lines[:1]:
        line.set_label("fine-tune flag")
    return lines[:1]


def _finish(figure: Figure, axes: Axes, label: str) -> None:
    locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.set_xlabel(label)
    figure.align_ylabels()


def _legend(axes: Axes, handles: Sequence[Line2D]) -> None:
    """Put the legend above its panel: inside, it would lie on some run's lines."""
    axes.legend(
        handles,
        [str(handle.get_label()) for handle in handles],
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.2,
        ncols=2 if len(handles) == 4 else min(len(handles), _LEGEND_COLUMNS),
        columnspacing=1.4,
    )


def _svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Write a figure without dates, sizes, outward addresses or ids that a second figure would repeat."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The font only measures here; the page draws the text with fonts that have the letter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    drawing = re.sub(r"\b(id=\"|xlink:href=\"#|url\(#)", rf"\g<1>{name}-", text[text.index("<svg") :])
    for color, variable in _VARIABLES.items():
        drawing = drawing.replace(color, variable)
    opening = drawing.index(">") + 1
    head = re.sub(r' (width|height)="[^"]*"', "", drawing[: opening - 1])
    head += f' role="img" aria-labelledby="{name}-title {name}-description">'
    titled = f'<title id="{name}-title">{escape(title)}</title>'
    described = f'<desc id="{name}-description">{escape(printable(description))}</desc>'
    return head + titled + described + drawing[opening:]


def _hit_rates(run: Summary) -> tuple[list[datetime], list[float | None]]:
    panes = run["by_pane"]
    rates = [pane["hits_next"] / pane["scored"] if pane["scored"] else None for pane in panes]
    return [_instant(pane["pane_end"]) for pane in panes], rates


def _cumulative_calls(run: Summary) -> tuple[list[datetime], list[int]]:
    total, calls = 0, []
    for pane in run["by_pane"]:
        total += pane["llm_calls"]
        calls.append(total)
    return [_instant(pane["pane_end"]) for pane in run["by_pane"]], calls


def _column(reports: Sequence[Summary], name: str) -> list[float | None]:
    return [report[name] for report in reports]


def _described(name: str, values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return f"{name}: no value."
    return f"{name}: {len(known)} values from {min(known):.3f} to {max(known):.3f}, the last {known[-1]:.3f}."


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _days(instants: Sequence[datetime]) -> list[float]:
    """Place instants on matplotlib's date axis, whose functions ship no types."""
    return [float(date2num(instant)) for instant in instants]  # type: ignore[no-untyped-call]
