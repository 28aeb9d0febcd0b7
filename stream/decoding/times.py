"""Event times of every notation as milliseconds since the Unix epoch.

Fractions of a millisecond are cut off, never rounded up, so that no event moves into the pane after its own. Floats
are rounded to the microsecond first: 1650812741.001 s is stored as a little less than it says.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream.decoding.id_hashes import trim
from stream.decoding.texts import as_text, text_buffers
from tidegate.errors import ConfigError
from tidegate.jit import kernel

NO_TIME = -1
"""What stands for a time that is missing, negative or not readable."""

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
TIME_UNITS = (*_PER_SECOND, "iso")
_MAX_MS = 1 << 53  # the year 287396: further on, floats cannot tell milliseconds apart
_ZERO, _NINE, _POINT = 48, 57, 46


def check_time_unit(unit: str) -> None:
    """Refuse an unknown unit.

    Raises
    ------
    ConfigError
        If `unit` is none of s, ms, us, ns, iso.
    """
    if unit not in TIME_UNITS:
        raise ConfigError(f"{unit!r} is not a time unit", f"Choose one of {', '.join(TIME_UNITS)}", place="--time-unit")


def times_ms_of(values: Any, unit: str) -> NDArray[np.int64]:
    """Read a column of times.

    Parameters
    ----------
    values : pyarrow.Array[n]     numbers, text, timestamps or dates (these last two carry their own unit)
    unit : {'s', 'ms', 'us', 'ns', 'iso'}

    Returns
    -------
    int64[n]
        Milliseconds since the Unix epoch; `NO_TIME` where there is none.

    Examples
    --------
    >>> times_ms_of(pa.array(["1650812741.5", "soon", None]), "s").tolist()
    [1650812741500, -1, -1]
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        return times_ms_of(values.dictionary.take(values.indices), unit)
    if pa.types.is_timestamp(kind):
        return _from_integers(values.cast(pa.int64()), kind.unit)
    if pa.types.is_date(kind):
        return _from_integers(values.cast(pa.date64()).cast(pa.int64()), "ms")
    return _from_iso(as_text(values)) if unit == "iso" else _from_units(values, unit)


def _from_units(values: Any, unit: str) -> NDArray[np.int64]:
    kind = values.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return _from_integers(values.cast(pa.int64()), unit)
    if pa.types.is_floating(kind):
        return _from_floats(np.asarray(values.cast(pa.float64()).fill_null(np.nan)), unit)
    return _from_text(as_text(values), unit)


def _from_integers(values: Any, unit: str) -> NDArray[np.int64]:
    times: NDArray[np.int64] = np.asarray(values.fill_null(NO_TIME) if values.null_count else values)
    per_second = _PER_SECOND[unit]
    if per_second <= 1_000:
        factor = 1_000 // per_second
        is_time = (times >= 0) & (times <= _MAX_MS // factor)
        return np.where(is_time, np.where(is_time, times, 0) * factor, NO_TIME)
    times_ms: NDArray[np.int64] = times // (per_second // 1_000)
    return np.where(times >= 0, times_ms, NO_TIME)


def _from_floats(times: NDArray[np.float64], unit: str) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore", over="ignore"):
        times_ms = np.floor(np.rint(times * (1_000_000 / _PER_SECOND[unit])) / 1_000)
        is_time = (times >= 0) & (times_ms <= _MAX_MS)  # false for NaN and infinity
    return np.where(is_time, np.where(is_time, times_ms, 0).astype(np.int64), NO_TIME)


def _from_text(text: Any, unit: str) -> NDArray[np.int64]:
    offsets, data = text_buffers(text)
    times = parse_decimals(offsets, data, round(np.log10(_PER_SECOND[unit])))
    for i in np.flatnonzero(times == NO_TIME):  # "1.65e9", which only a full parser reads; rare by nature
        times[i] = _from_floats(np.array([_float_of(text[int(i)].as_py())]), unit)[0]
    return times


def _float_of(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


@kernel
def parse_decimals(offsets: NDArray[np.int32], data: NDArray[np.uint8], unit_digits: int) -> NDArray[np.int64]:
    """Read decimal texts, in units of ``10**-unit_digits`` seconds, exactly into whole milliseconds.

    What is not digits with at most one point in it is `NO_TIME`. `O(bytes)`, allocates the result: int64[n].
    """
    n = offsets.shape[0] - 1
    times = np.empty(n, dtype=np.int64)
    for i in range(n):
        start, stop = trim(data, offsets[i], offsets[i + 1])
        times[i] = _parse_decimal(data, start, stop, unit_digits)
    return times


@kernel
def _parse_decimal(data: NDArray[np.uint8], start: int, stop: int, unit_digits: int) -> int:
    point = stop
    for at in range(start, stop):
        byte = data[at]
        if byte == _POINT and point == stop:
            point = at
        elif byte < _ZERO or byte > _NINE:
            return NO_TIME
    n_whole = point - start
    n_fraction = max(stop - point - 1, 0)
    if n_whole + n_fraction == 0:
        return NO_TIME
    value = 0
    for k in range(n_whole + 3 - unit_digits):  # digits as far as the millisecond
        at = start + k if k < n_whole else point + 1 + k - n_whole
        digit = int(data[at]) - _ZERO if at < stop and k < n_whole + n_fraction else 0
        value = 10 * value + digit
        if value > _MAX_MS:
            return NO_TIME
    return value


def _from_iso(text: Any) -> NDArray[np.int64]:
    try:
        instants = text.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        return np.fromiter((_iso_ms(value) for value in text.to_pylist()), dtype=np.int64, count=len(text))
    return _from_integers(pc.if_else(pc.less(instants, 0), NO_TIME, instants), "ns")


def _iso_ms(text: str | None) -> int:
    """Read one instant; without an offset it is no instant."""
    try:
        instant = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return NO_TIME
    if instant.tzinfo is None or instant.timestamp() < 0:
        return NO_TIME
    return int(instant.replace(microsecond=0).timestamp()) * 1_000 + instant.microsecond // 1_000
