"""Figures of a service of lookups."""

from __future__ import annotations

import msgspec

ANSWER_BOUNDS_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
"""Upper bounds of the classes that the service counts its answers' times in; what is above them has a class too."""


class ServiceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a service of lookups has answered since it started, all its processes together.

    ``requests`` by route and outcome, ``pairs`` by level, ``buckets`` by `ANSWER_BOUNDS_SECONDS` (not added up),
    ``seconds`` in all; ``versions`` is what each process serves now, 0 for none.
    """

    requests: dict[tuple[str, str], int]
    pairs: dict[str, int]
    buckets: tuple[int, ...]
    seconds: float
    versions: tuple[int, ...]
    swaps: int
    rejected: int
