"""Names beside the points of a figure, none on top of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeAlias

from matplotlib.axes import Axes

from monitoring.wording import printable

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top, in points."""

_HEIGHT = 9.0  # of a letter, in points
_LETTER = 0.6  # width of a letter, of its height; the reader's font is not known here
_LINE = 1.25  # height of a line, of that of a letter
_GAP = 7.0  # between a point and its label
_MOST_SHIFTS = 14


@dataclass(slots=True)
class Boxes:
    """What is taken of a panel.

    Attributes
    ----------
    bottom, top : float   the panel's own, which labels keep to
    """

    bottom: float
    top: float
    taken: list[Box] = field(default_factory=list)

    def is_free(self, box: Box) -> bool:
        """Whether a box lies in the panel and touches nothing that is taken."""
        left, bottom, right, top = box
        is_inside = bottom >= self.bottom and top <= self.top
        return is_inside and not any(
            left < other[2] and other[0] < right and bottom < other[3] and other[1] < top for other in self.taken
        )


def label_points(axes: Axes, points: Mapping[str, tuple[float, float]], colors: Mapping[str, str]) -> None:
    """Write each point's name to its right, moved up or down, with a line, where something is in the way.

    The figure's layout must be done (``figure.draw_without_rendering()``), and is left as it is.

    Parameters
    ----------
    points : by name, in the units of the axes
    colors : by name, of the line that joins a moved label to its point
    """
    to_points = 72.0 / axes.figure.dpi
    places = {name: (axes.transData.transform(point) * to_points).tolist() for name, point in points.items()}
    bottom, top = axes.bbox.y0 * to_points, axes.bbox.y1 * to_points
    half = _GAP / 2
    boxes = Boxes(bottom, top, [(x - half, y - half, x + half, y + half) for x, y in places.values()])
    for name in sorted(points, key=lambda name: (places[name][1], places[name][0])):
        offset = _place(places[name], len(printable(name)) * _HEIGHT * _LETTER, boxes)
        _write(axes, name, points[name], offset, colors[name])


def label_ends(axes: Axes, points: Mapping[str, tuple[float, float]], colors: Mapping[str, str]) -> None:
    """Write names beside the ends of lines, one below the other in the order of their heights, as `label_points`."""
    to_points, step = 72.0 / axes.figure.dpi, _HEIGHT * _LINE
    heights = {name: float(axes.transData.transform(point)[1]) * to_points for name, point in points.items()}
    rising = sorted(points, key=lambda name: (heights[name], name))
    upward = list(accumulate((heights[name] for name in rising), lambda below, own: max(own, below + step)))
    downward = list(accumulate((heights[name] for name in reversed(rising)), lambda above, own: min(own, above - step)))
    for name, high, low in zip(rising, upward, reversed(downward), strict=True):
        # Both leave room between names, and so does what lies between the two; it is nearer to the ends of the lines.
        shift = (high + low) / 2 - heights[name]
        _write(axes, name, points[name], (2 * _GAP, shift), colors[name])


def _write(axes: Axes, name: str, point: tuple[float, float], offset: tuple[float, float], color: str) -> None:
    leader: dict[str, Any] = {"arrowstyle": "-", "color": color, "linewidth": 0.6}
    label = axes.annotate(
        printable(name),
        point,
        xytext=offset,
        textcoords="offset points",
        fontsize=_HEIGHT,
        va="center",
        arrowprops=leader if abs(offset[1]) > 1 else None,
        annotation_clip=False,
        zorder=5,
    )
    label.set_in_layout(False)


def _place(point: Sequence[float], width: float, boxes: Boxes) -> tuple[float, float]:
    """Offset of a label that is `width` wide: the nearest that is free, else beside the point; takes its box."""
    height = _HEIGHT * _LINE
    tried = [(dx, dy, _box(point, dx, dy, width, height)) for dx, dy in _offsets(height)]
    dx, dy, box = next((each for each in tried if boxes.is_free(each[2])), tried[0])
    boxes.taken.append(box)
    return dx, dy


def _box(point: Sequence[float], dx: float, dy: float, width: float, height: float) -> Box:
    x, y = point[0] + dx, point[1] + dy
    return x, y - height / 2, x + width, y + height / 2


def _offsets(height: float) -> Iterator[tuple[float, float]]:
    yield _GAP, 0.0
    for shift in range(1, _MOST_SHIFTS + 1):
        # A label that is moved gets a line to its point, so it stands a little further off.
        yield 2 * _GAP, shift * height
        yield 2 * _GAP, -shift * height
