"""Small line charts as inline SVG: no script, no style of their own, three widths so that text stays readable.

Series are named at their end, not in a legend, and differ by stroke as well as by colour. All colours are classes of
the page's style sheet, so one drawing serves light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from monitoring.console import words
from monitoring.wording import printable

_WIDTHS = {"wide": 1_120, "medium": 740, "narrow": 340}
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 6, 10, 22
_LETTER_WIDTH = 7.4
_DAY_MS = 86_400_000
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0)
_MOST_POINTS_WITH_DOTS = 70


@dataclass(frozen=True, slots=True)
class Series:
    """One line: a value a pane, None where there is none."""

    name: str
    css: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a pane's end, drawn as a line from top to bottom with a sign at its foot."""

    at: int
    css: str
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn.

    Attributes
    ----------
    ends_ms : ends of the panes, ascending
    rings : indices of panes whose value of the first series gets a ring
    """

    name: str
    title: str
    description: str
    ends_ms: Sequence[int]
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    rings: Sequence[int] = ()
    height: int = 190


def draw(chart: Chart) -> Markup | None:
    """Draw a chart in all widths, of which the page shows one; None where no series has a value."""
    if not any(_is_known(value) for series in chart.series for value in series.values):
        return None
    return Markup("").join(_Drawing(chart, width, size).svg() for size, width in _WIDTHS.items())


class _Drawing:
    def __init__(self, chart: Chart, width: int, size: str) -> None:
        self._chart, self._width, self._size = chart, width, size
        names = [len(series.name) for series in chart.series]
        self._right = width - _RIGHT - math.ceil(max(names) * _LETTER_WIDTH) - 8
        known = [value for series in chart.series for value in series.values if _is_known(value) and value is not None]
        self._low, self._high, self._step = _scale(min(known), max(known))

    def svg(self) -> Markup:
        chart, parts = self._chart, [*self._grid(), *self._times(), *self._marks()]
        for series in chart.series:
            parts += self._line(series)
        parts += self._rings()
        parts += self._names()
        ids = f"{chart.name}-{self._size}"
        return Markup(
            '<svg class="chart {size}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{ids}-t {ids}-d" '
            'preserveAspectRatio="xMidYMid meet"><title id="{ids}-t">{title}</title><desc id="{ids}-d">{text}</desc>'
            "{parts}</svg>"
        ).format(
            size=self._size,
            width=self._width,
            height=chart.height,
            ids=ids,
            title=printable(chart.title),
            text=printable(chart.description),
            parts=Markup("").join(parts),
        )

    def _x(self, at: int) -> float:
        ends = self._chart.ends_ms
        span = ends[-1] - ends[0]
        share = (ends[at] - ends[0]) / span if span else 0.5
        return round(_LEFT + share * (self._right - _LEFT), 1)

    def _y(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        bottom = self._chart.height - _BOTTOM
        return round(bottom - share * (bottom - _TOP), 1)

    def _grid(self) -> list[Markup]:
        parts = []
        for i in range(round((self._high - self._low) / self._step) + 1):
            value = self._low + i * self._step
            css = "axis" if abs(value) < self._step / 1e6 else "grid"
            y = self._y(value)
            parts.append(Markup('<path class="{}" d="M{} {}H{}"/>').format(css, _LEFT, y, self._right))
            parts.append(
                Markup('<text class="tick end" x="{}" y="{}">{}</text>').format(_LEFT - 6, y + 4, _short(value))
            )
        return parts

    def _times(self) -> list[Markup]:
        ends = self._chart.ends_ms
        n_labels = max(2, (self._right - _LEFT) // 110)
        chosen = sorted({round(i * (len(ends) - 1) / max(n_labels - 1, 1)) for i in range(n_labels)})
        is_short = ends[-1] - ends[0] < 3 * _DAY_MS
        y = self._chart.height - 5
        parts = []
        for at in chosen:
            instant = datetime.fromtimestamp(ends[at] / 1_000, tz=UTC)
            text = instant.strftime("%d %b %H:%M" if is_short else "%d %b")
            css = "tick start" if at == 0 else "tick end" if at == len(ends) - 1 else "tick middle"
            parts.append(Markup('<text class="{}" x="{}" y="{}">{}</text>').format(css, self._x(at), y, text))
        return parts

    def _marks(self) -> list[Markup]:
        bottom = self._chart.height - _BOTTOM
        return [
            Markup('<g class="mark {}"><title>{}</title><path d="M{} {}V{}"/></g>').format(
                mark.css, printable(mark.title), self._x(mark.at), _TOP, bottom
            )
            for mark in self._chart.marks
        ]

    def _line(self, series: Series) -> list[Markup]:
        """Draw a line with gaps where values are missing; a value without neighbours is a dot."""
        path, pen_is_down = [], False
        dots = []
        has_dots = len(series.values) <= _MOST_POINTS_WITH_DOTS
        for at, value in enumerate(series.values):
            if value is None or not _is_known(value):
                pen_is_down = False
                continue
            x, y = self._x(at), self._y(value)
            path.append(f"{'L' if pen_is_down else 'M'}{x} {y}")
            pen_is_down = True
            if has_dots:
                shown = f"{series.name}: {_figure(value)}, {words.instant(self._chart.ends_ms[at])}"
                dots.append(
                    Markup('<circle class="dot {}" cx="{}" cy="{}" r="2.2"><title>{}</title></circle>').format(
                        series.css, x, y, printable(shown)
                    )
                )
        return [Markup('<path class="line {}" d="{}"/>').format(series.css, "".join(path)), *dots]

    def _rings(self) -> list[Markup]:
        values = self._chart.series[0].values
        found = [(at, value) for at in self._chart.rings if (value := values[at]) is not None]
        return [
            Markup('<circle class="ring" cx="{}" cy="{}" r="6"><title>{}</title></circle>').format(
                self._x(at), self._y(value), f"drifts beyond noise, {words.instant(self._chart.ends_ms[at])}"
            )
            for at, value in found
        ]

    def _names(self) -> list[Markup]:
        """Write each series' name beside its last value, moved apart where two would lie on each other."""
        placed: list[tuple[float, Series]] = []
        for series in self._chart.series:
            last = next((value for value in reversed(series.values) if _is_known(value)), None)
            if last is not None:
                placed.append((self._y(last), series))
        placed.sort(key=lambda each: each[0])
        parts, above = [], float("-inf")
        for wanted, series in placed:
            y = max(wanted + 4, above + 14)
            above = y
            parts.append(
                Markup('<text class="name {}" x="{}" y="{}">{}</text>').format(
                    series.css, self._right + 8, round(y, 1), printable(series.name)
                )
            )
        return parts


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """Choose round bounds that hold all values, 0 among them where it is near, and at most six steps between."""
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    span = max(high - low, 0.01)
    step = next((step for step in _STEPS if span / step <= 5), None)
    if step is None:
        step = 10 ** math.ceil(math.log10(span / 5))
    first, last = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return first, last if last > first else first + step, step


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) >= 1e-9 else "0"


def _figure(value: float) -> str:
    return f"{value:.3f}"
