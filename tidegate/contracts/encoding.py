"""How a record is written."""

from __future__ import annotations

import msgspec


def encode(record: msgspec.Struct) -> bytes:
    """Write a record as JSON with its fields in the order of their definition."""
    return msgspec.json.encode(record)
