"""Values that the formats' libraries give, as the few kinds of values that columns hold."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

_PLAIN = (str, bool, int, float, Decimal, type(None))


def scalar_of(name: str, value: Any) -> Any:
    """Keep texts, numbers and truth values, make instants of dates and texts of bytes.

    Dates and times without a zone are taken as UTC, as those of Parquet files are.

    Raises
    ------
    ValueError
        If the value is a list, a record or the like, or its bytes are no UTF-8.

    Examples
    --------
    >>> scalar_of("at", date(2024, 1, 1)).isoformat(), scalar_of("user", b"u7")
    ('2024-01-01T00:00:00+00:00', 'u7')
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (UUID, time)):
        return str(value)
    raise ValueError(f"{name} is no text, number, truth value or time")


def fault_of(error: Exception) -> str:
    """Say why a library could not read a record.

    Examples
    --------
    >>> fault_of(EOFError()), fault_of(IndexError("list index out of range"))
    ('it is cut off', 'IndexError: list index out of range')
    """
    if isinstance(error, EOFError):
        return "it is cut off"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, RecursionError):
        return "it nests too deeply"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
