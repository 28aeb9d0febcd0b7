"""Decoders of messages in a registry's framing, for tests: read as events, and held against another reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from stream.decoding.columns import DecodeOptions
from stream.decoding.messages import MessageDecoder
from stream.decoding.messages.formats import MessageFormat, RegistryOptions
from stream.decoding.messages.rows import MessageRows
from stream.events import EventBatch
from tests.schema_registry import FakeRegistry
from tidegate.clock import ManualClock

NOON_MS = 1_704_110_400_000
"""Noon of 1 January 2024, when the tests' messages are of."""


class Reading:
    """A decoder of messages, and its clock, a day after `NOON_MS`."""

    def __init__(self, registry: FakeRegistry, name: Literal["avro", "protobuf"], **options: Any) -> None:
        self.clock = ManualClock(NOON_MS + 86_400_000)
        format_ = MessageFormat(name, RegistryOptions(registry.url))
        self.decoder = MessageDecoder(DecodeOptions(**options), self.clock, explains_all=True, format_=format_)

    def decode(self, values: Sequence[bytes]) -> EventBatch:
        n = len(values)
        return self.decoder.decode(values, topic="t", partition=0, offsets=np.arange(n), next_offset=n)

    def faults(self, values: Sequence[bytes]) -> dict[int, str]:
        return {issue.position or 0: issue.found for issue in self.decode(values).issues}


def assert_same_rows(found: MessageRows, expected: MessageRows) -> None:
    """Hold what kernel and library read against what the library reads alone."""
    assert found.bad == expected.bad
    assert (found.positions is None) == (expected.positions is None)
    if found.positions is not None and expected.positions is not None:
        assert found.positions.tolist() == expected.positions.tolist()
    for name, column in expected.columns.items():
        assert found.columns[name].type == column.type, name
        # (NaN is no equal of itself, but of its own text.)
        assert list(map(repr, found.columns[name].to_pylist())) == list(map(repr, column.to_pylist())), name
