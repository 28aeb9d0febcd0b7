from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from monitoring.drawing import canvas, report_style
from monitoring.point_labels import Boxes, label_ends, label_points


def _labelled(points: dict[str, tuple[float, float]], *, at_ends: bool = False) -> tuple[Axes, dict[str, Annotation]]:
    with report_style():
        figure, (axes,) = canvas(1)
        axes.set_xlim(0, 10)
        axes.set_ylim(0, 1)
        figure.draw_without_rendering()
        label = label_ends if at_ends else label_points
        label(axes, points, dict.fromkeys(points, "#010203"))
    texts = {text.get_text(): text for text in axes.texts if isinstance(text, Annotation)}
    return axes, texts


def _tops(axes: Axes, texts: dict[str, Annotation]) -> dict[str, float]:
    return {
        name: float(axes.transData.transform(text.xy)[1]) * 72 / axes.figure.dpi + text.get_position()[1]
        for name, text in texts.items()
    }


def test_names_stand_beside_their_points_where_there_is_room() -> None:
    _, texts = _labelled({"always": (8, 0.9), "never": (1, 0.1)})
    assert {text.get_position()[1] for text in texts.values()} == {0.0}
    assert all(text.arrow_patch is None for text in texts.values())


def test_names_of_points_at_one_place_stand_apart_and_have_a_line() -> None:
    names = [f"adaptive:{price}" for price in range(8)]
    axes, texts = _labelled(dict.fromkeys(names, (5.0, 0.5)))
    heights = _tops(axes, texts)
    assert all(abs(heights[a] - heights[b]) > 9 for a, b in combinations(names, 2))
    assert sum(text.arrow_patch is not None for text in texts.values()) == 7


def test_names_keep_to_their_panel() -> None:
    axes, texts = _labelled({f"p{i}": (5, 1.0) for i in range(5)})
    top = axes.bbox.y1 * 72 / axes.figure.dpi
    moved = [height for height in _tops(axes, texts).values() if height < top - 4]
    assert len(moved) >= 4 and max(_tops(axes, texts).values()) <= top + 0.1


def test_point_without_any_room_is_named_beside_itself() -> None:
    _, texts = _labelled({f"policy-{i}": (5, 0.5) for i in range(60)})
    assert len(texts) == 60


@pytest.mark.parametrize("n", [1, 2, 9])
def test_names_at_ends_keep_the_order_of_the_lines_and_a_line_apart(n: int) -> None:
    axes, texts = _labelled({f"p{i}": (9, 0.5 + 0.001 * i) for i in range(n)}, at_ends=True)
    heights = [_tops(axes, texts)[f"p{i}"] for i in range(n)]
    assert all(b - a >= 11.2 for a, b in pairwise(heights))
    middle = sum(heights) / n
    own = float(axes.transData.transform((9, 0.5 + 0.0005 * (n - 1)))[1]) * 72 / axes.figure.dpi
    assert abs(middle - own) < 3


def test_box_that_touches_or_leaves_the_panel_is_not_free() -> None:
    boxes = Boxes(0.0, 10.0, [(0.0, 0.0, 2.0, 2.0)])
    assert boxes.is_free((2.0, 0.0, 3.0, 2.0)) and not boxes.is_free((1.0, 1.0, 3.0, 3.0))
    assert not boxes.is_free((5.0, 9.0, 6.0, 11.0)) and not boxes.is_free((5.0, -1.0, 6.0, 1.0))


def test_names_are_neither_markup_nor_formula_nor_control() -> None:
    _, texts = _labelled({"\x1b[2J$x$": (5, 0.5)})
    assert list(texts) == ["\\x1b[2J$x$"]
