from __future__ import annotations

import datetime
from decimal import ROUND_FLOOR, Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.decoding.times import NO_TIME, check_time_unit, parse_decimals, times_ms_of
from tidegate.errors import ConfigError
from tidegate.jit import is_compiled

_PER_MS = {"s": Decimal("0.001"), "ms": Decimal(1), "us": Decimal(1_000), "ns": Decimal(1_000_000)}


def _times(values: list[object] | pa.Array, unit: str = "s") -> list[int]:
    return times_ms_of(values if isinstance(values, pa.Array) else pa.array(values), unit).tolist()


@settings(deadline=None)  # the first example compiles
@given(st.decimals(0, 10**12, places=9), st.integers(0, 9), st.sampled_from(sorted(_PER_MS)))
def test_decimal_texts_are_read_exactly_in_every_unit(value: Decimal, places: int, unit: str) -> None:
    text = format(value, "f")[: len(format(value, "f")) - 9 + places]
    expected = int((Decimal(text) / _PER_MS[unit]).to_integral_value(ROUND_FLOOR))
    assert _times([text], unit) == [expected]
    assert is_compiled(parse_decimals)


@pytest.mark.parametrize(
    ("unit", "number"),
    [("s", 1650812741), ("ms", 1650812741000), ("us", 1650812741000999), ("ns", 1650812741000999999)],
)
def test_numbers_and_their_texts_agree(unit: str, number: int) -> None:
    assert _times([number], unit) == _times([str(number)], unit) == [1650812741000]


@settings(deadline=None)  # the first example compiles
@given(st.integers(0, 4 * 10**12))
def test_float_seconds_keep_their_milliseconds(time_ms: int) -> None:
    assert _times([time_ms / 1_000]) == [time_ms]


def test_fractions_of_a_millisecond_never_move_an_event_on() -> None:
    assert _times(["0.0019"]) == _times([1_900], "us") == _times([0.0019]) == [1]


@pytest.mark.parametrize("text", ["", " ", ".", "-1", "1.2.3", "soon", "nan", "inf", "2022-04-24T15:05:41Z", "9" * 40])
def test_what_is_no_time_is_none(text: str) -> None:
    assert _times([text, "1"]) == [NO_TIME, 1_000]


def test_blanks_around_and_exponents_are_understood() -> None:
    assert _times([" 12 ", "1.5e3", ".5", "7."]) == [12_000, 1_500_000, 500, 7_000]


@pytest.mark.parametrize("values", [[-1, None, 2**62, 1], [-1.0, None, 1e300, 1.0], [-1.0, np.nan, np.inf, 1.0]])
def test_negative_missing_and_absurd_numbers_are_no_times(values: list[object]) -> None:
    assert _times(values) == [NO_TIME, NO_TIME, NO_TIME, 1_000]


def test_unsigned_and_dictionary_columns_are_read() -> None:
    assert _times(pa.array([1], pa.uint64())) == _times(pa.array([1, 1]).dictionary_encode())[:1] == [1_000]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_timestamp_columns_carry_their_own_unit(unit: str, zone: str | None) -> None:
    instant = pa.array([1650812741, None]).cast(pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    assert _times(instant, "ns") == [1650812741000, NO_TIME]


def test_dates_begin_at_midnight() -> None:
    assert _times(pa.array([datetime.date(1970, 1, 2)])) == [86_400_000]


def test_iso_times_need_an_offset() -> None:
    texts = [
        "1970-01-01T00:00:01.5Z",
        "1970-01-01 02:00:00+02:00",
        "1970-01-01T00:00:01",
        " 1970-01-01T00:00:01Z ",
        "7",
    ]
    assert _times(texts, "iso") == [1_500, 0, NO_TIME, 1_000, NO_TIME]


@settings(deadline=None)  # the first example compiles
@given(st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2200, 1, 1)), st.integers(-14, 14))
def test_iso_times_read_the_same_in_bulk_and_beside_a_faulty_one(instant: datetime.datetime, hours: int) -> None:
    text = instant.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=hours))).isoformat()
    assert _times([text], "iso") == _times([text, "?"], "iso")[:1]


def test_iso_times_before_1970_are_no_times() -> None:
    assert _times(["1969-12-31T23:59:59Z"], "iso") == _times(["1969-12-31T23:59:59Z", "?"], "iso")[:1] == [NO_TIME]


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="'min' is not a time unit"):
        check_time_unit("min")
