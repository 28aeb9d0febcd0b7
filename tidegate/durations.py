"""Durations as people write them: ``90s``, ``15m``, ``6h``, ``3d``."""

from __future__ import annotations

import re

from tidegate.errors import RequestError

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*")


def parse_duration(text: str, *, name: str = "duration") -> int:
    """Read a duration into milliseconds.

    Raises
    ------
    RequestError
        If `text` is not a positive number with one of the units s, m, h, d.

    Examples
    --------
    >>> parse_duration("3d"), parse_duration("1.5h")
    (259200000, 5400000)
    """
    match = _PATTERN.fullmatch(text)
    duration_ms = round(float(match[1]) * _UNIT_MS[match[2]]) if match else 0
    if duration_ms <= 0:
        raise RequestError(
            f"{text!r} is not a duration",
            "Write a positive number and a unit: 90s, 15m, 6h or 3d",
            place=name,
        )
    return duration_ms


def format_duration(duration_ms: int) -> str:
    """Write milliseconds with the largest unit that divides them.

    Examples
    --------
    >>> format_duration(259_200_000), format_duration(5_400_000)
    ('3d', '90m')
    """
    for unit in ("d", "h", "m", "s"):
        if duration_ms % _UNIT_MS[unit] == 0:
            return f"{duration_ms // _UNIT_MS[unit]}{unit}"
    return f"{duration_ms / 1_000:g}s"
