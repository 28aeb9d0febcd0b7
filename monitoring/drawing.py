"""How figures of reports look: drawn without a display, written as inline SVG that follows the page's colours.

Colours are drawn as stand-ins and written as CSS variables, so that one drawing serves light and dark pages.
Series differ by line and marker as well as by colour (Okabe and Ito's palette).
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from monitoring.wording import printable

INK, FAINT, ALARM, FLAG = "#010203", "#040506", "#070809", "#0a0b0c"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b0588c", "#8a6d00", "#3a7ca5")
_VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    ALARM: "var(--alarm)",
    FLAG: "var(--flag)",
    **{color: f"var(--series-{i})" for i, color in enumerate(SERIES, start=1)},
}
_STROKES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, selected and found
    "svg.hashsalt": "tidegate",
    "font.family": "sans-serif",
    "font.size": 11.0,
    "text.color": INK,
    "text.parse_math": False,  # a policy's name is no formula
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}
DENSE = 60  # with more points the markers would hide their line
_LEGEND_COLUMNS = 3


def report_style() -> Any:
    """Style to draw within, as a context."""
    # The reader's own matplotlibrc would change the bytes.
    return matplotlib.style.context(["default", _STYLE])


def canvas(n_panels: int) -> tuple[Figure, list[Axes]]:
    """Make an empty figure of so many panels, one below the other, with a common horizontal axis."""
    figure = Figure(figsize=(8.6, 1.0 + 2.7 * n_panels), layout=ConstrainedLayoutEngine(h_pad=0.08))
    panels = figure.subplots(n_panels, 1, sharex=True, squeeze=False)
    return figure, list(panels[:, 0])


def draw_series(
    axes: Axes, label: str, i: int, ends: Sequence[datetime], values: Sequence[float | None], **more: Any
) -> Line2D:
    """Draw one series; a missing value breaks its line."""
    heights = [float("nan") if value is None else value for value in values]
    marker = MARKERS[i % len(MARKERS)] if len(ends) <= DENSE else ""
    (line,) = axes.plot(
        days_of(ends),
        heights,
        color=SERIES[i % len(SERIES)],
        linestyle=_STROKES[i % len(_STROKES)],
        marker=marker,
        label=label,
        clip_on=False,
        zorder=3,
        **more,
    )
    return line


def scale_log(axes: Axes, axis: Literal["x", "y"], first: int, most: int) -> None:
    """Scale by decades from the one of `first` on; below it nothing is to be told apart, so it is linear down to 0."""
    lowest, highest = int(math.log10(first)), math.ceil(math.log10(most))
    set_scale, scaled = (axes.set_xscale, axes.xaxis) if axis == "x" else (axes.set_yscale, axes.yaxis)
    set_scale("symlog", linthresh=10**lowest)
    scaled.set_major_locator(FixedLocator([0, *(10**decade for decade in range(lowest, highest + 1))]))
    scaled.set_minor_locator(NullLocator())
    (axes.set_xlim if axis == "x" else axes.set_ylim)(0, most * 1.5)


def finish_times(figure: Figure, axes: Axes, label: str) -> None:
    """Label the horizontal axis with instants."""
    locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.set_xlabel(label)
    figure.align_ylabels()


def legend_above(axes: Axes, handles: Sequence[Line2D]) -> None:
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


def svg_of(figure: Figure, name: str, title: str, description: str) -> str:
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


def range_in_words(name: str, values: Sequence[float | None]) -> str:
    """Say what a series holds, for those who do not see it."""
    known = [value for value in values if value is not None]
    if not known:
        return f"{name}: no value."
    return f"{name}: {len(known)} values from {min(known):.3f} to {max(known):.3f}, the last {known[-1]:.3f}."


def instant_of(text: str) -> datetime:
    """Read an ISO instant."""
    return datetime.fromisoformat(text).astimezone(UTC)


def days_of(instants: Sequence[datetime]) -> list[float]:
    """Place instants on matplotlib's date axis, whose functions ship no types."""
    return [float(date2num(each)) for each in instants]  # type: ignore[no-untyped-call]
