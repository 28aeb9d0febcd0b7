"""The topology in plain Python, record by record: what the Faust and the Quix Streams program count with.

Knows neither of them, and nothing outside the standard library: it runs in the peers' environment, where Tidegate is
not installed. `bench.peers.oracle` recounts the same from whole logs, another way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

POSITIVE = 0.5
GAP_SECONDS = 86_400
PANE_SECONDS = 86_400
N_TOP = 5

Sequence: TypeAlias = list[Any]
"""A user's open sequence, as JSON can hold it: ``[seconds of the last positive watch, first cluster, second, …]``."""
Transition: TypeAlias = tuple[int, str, str, str]
"""``(pane, c1, c2, c_next)``"""


def is_positive(watch: Mapping[str, Any]) -> bool:
    """Whether a watch counts."""
    return bool(watch["engagement"] >= POSITIVE)


def extend(sequence: Sequence | None, category: str, timestamp: int) -> tuple[Sequence, Transition | None]:
    """Add one positive watch to its user's open sequence.

    Returns
    -------
    sequence : list             the one to keep; a new one where the gap was longer than a day
    transition : tuple or None  what the watch completed

    Examples
    --------
    >>> extend([90_000, "soul", "rock"], "jazz", 100_000)
    ([100000, 'soul', 'rock', 'jazz'], (1, 'soul', 'rock', 'jazz'))
    """
    if sequence is None or timestamp - sequence[0] > GAP_SECONDS:
        return [timestamp, category], None
    sequence[0] = timestamp
    if category in sequence:  # a time is no name, so it may be looked through
        return sequence, None
    sequence.append(category)
    if len(sequence) < 4:
        return sequence, None
    return sequence, (timestamp // PANE_SECONDS, sequence[-3], sequence[-2], category)


def key_of(transition: Transition) -> str:
    """Name a transition's count: ``pane|c1|c2|c_next``."""
    return "|".join(map(str, transition))


def transition_of(key: str) -> Transition:
    """Turn `key_of` around."""
    pane, c1, c2, c_next = key.split("|")
    return int(pane), c1, c2, c_next


def top_successors(counts: Mapping[Transition, int]) -> dict[tuple[str, str], list[str]]:
    """Answer each pair's five most frequent successors over all panes, the most frequent first, ties by name."""
    of_pair: defaultdict[tuple[str, str], defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (_, c1, c2, c_next), n in counts.items():
        of_pair[c1, c2][c_next] += n
    return {pair: _best(totals.items()) for pair, totals in of_pair.items()}


def _best(totals: Iterable[tuple[str, int]]) -> list[str]:
    return [c_next for c_next, _ in sorted(totals, key=lambda each: (-each[1], each[0]))[:N_TOP]]
