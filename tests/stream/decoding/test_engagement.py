from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from stream.decoding.engagement import PositiveRule
from tidegate.errors import ExpressionError


def _holds(text: str, **columns: object) -> list[bool]:
    return PositiveRule.parse(text).holds(columns).tolist()


def test_a_rule_names_its_columns_once_in_order_of_appearance() -> None:
    rule = PositiveRule.parse('watch_ms > 3000 and not (action == "dislike") or watch_ms >= duration_ms')
    assert rule.columns == ("watch_ms", "action", "duration_ms")


def test_comparisons_chain() -> None:
    assert _holds("0 < x <= 2", x=[0, 1, 2, 3]) == [False, True, True, False]


def test_negative_numbers_are_literals() -> None:
    assert _holds("x >= -1.5", x=[-2, -1]) == [False, True]


def test_text_is_read_as_a_number_where_it_meets_one() -> None:
    assert _holds("x >= 0.5", x=["0.5", " 1e0 ", "0.49", ".7"]) == [True, True, False, True]


def test_two_columns_are_compared_as_numbers_whatever_the_file_says() -> None:
    assert _holds("watched >= length", watched=["9", "10"], length=["10", "9"]) == [False, True]


def test_a_string_literal_compares_text() -> None:
    assert _holds('day >= "2022-05-01"', day=["2022-04-30", "2022-05-01"]) == [False, True]
    assert _holds('code == "7"', code=[7, 8]) == [True, False]


@pytest.mark.parametrize("unknown", [None, "", "  ", "n/a", "nan"])
@pytest.mark.parametrize("text", ["x > 1", "not x > 1", "x != 1", "not (x > 1 and x < 3)"])
def test_an_unknown_value_is_positive_under_no_rule(text: str, unknown: str | None) -> None:
    assert _holds(text, x=pa.array([unknown], pa.string())) == [False]


def test_an_unknown_part_does_not_hide_a_part_that_decides() -> None:
    assert _holds("x > 1 or y > 1", x=[None, None], y=[2, 0]) == [True, False]


def test_nan_of_a_float_column_is_unknown() -> None:
    assert _holds("not x > 1", x=np.array([np.nan, 0.0])) == [False, True]


def test_booleans_count_as_one_and_zero() -> None:
    assert _holds("liked == 1", liked=[True, False]) == [True, False]


def test_integers_beyond_float_precision_still_compare() -> None:
    assert _holds("x > 1", x=[2**60 + 1]) == [True]


def test_dictionary_and_chunked_columns_are_read() -> None:
    column = pa.chunked_array([pa.array(["1", "3"]).dictionary_encode()])
    assert _holds("x > 2", x=column) == [False, True]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "does not parse"),
        ("x >", "does not parse"),
        ("x\0", "does not parse"),
        ("x", "'x' is not a comparison"),
        ("x > 1 and True", "'True' is not a comparison"),
        ("x in (1, 2)", "is not a comparison"),
        ("x + 1 > 2", "'x + 1' is neither"),
        ("f(x) > 2", "'f(x)' is neither"),
        ("x.y > 2", "'x.y' is neither"),
        ("x > True", "'True' is neither"),
        ("x > None", "'None' is neither"),
        ("x > -y", "'-y' is neither"),
        ("x > -True", "'-True' is neither"),
        ("1 < 2", "compares two literals"),
        ("(lambda: 1)() == 1", "is neither"),
        ("x > 1 " + "or x > 1 " * 200, "at most are read"),
    ],
)
def test_everything_else_is_refused_with_what_and_how_to_mend_it(text: str, named: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        PositiveRule.parse(text)
    assert named in caught.value.found
    assert "engagement >= 0.5" in caught.value.mend
    assert caught.value.place == "--positive"


@pytest.mark.parametrize("column", [pa.array([datetime.date(2022, 1, 1)]), pa.array([[1]])])
def test_a_column_that_is_no_number_is_named(column: pa.Array) -> None:
    with pytest.raises(ExpressionError, match="column x holds"):
        PositiveRule.parse("x > 1").holds({"x": column})
