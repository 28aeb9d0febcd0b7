"""What the glossary says, recounted in plain Python: the slow twin that kernels and workers are held against.

Whole logs at once, dictionaries and lists only, no state that is carried along: each user's watches are cut at the
gaps, then de-duplicated, then read as triples, and a prediction is looked for in the rest of its sequence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)

NO_ANSWER = -1
# Figures of a pane, in the order in which the store keeps them.
TRANSITIONS, SEQUENCES, SCORED, ANSWERED, HITS_NEXT, HITS_SEQUENCE, HIT_MICROBITS = range(7)


@dataclass(frozen=True, slots=True)
class Watch(Generic[C]):
    """One positive watch."""

    user: Hashable
    cluster: C
    time_ms: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What the flags of a run say."""

    pane_ms: int
    window_ms: int
    gap_ms: int | None = None
    adjacent: bool = False
    allow_return: bool = False


@dataclass(slots=True)
class Recount(Generic[C]):
    """Transitions by ``(pane, c1, c2, c_next)``, each one with its user, and the seven figures of each pane."""

    counts: Counter[tuple[int, C, C, C]] = field(default_factory=Counter)
    transitions: list[tuple[Hashable, C, C, C]] = field(default_factory=list)
    figures: dict[int, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * 7))


Predict = Callable[[int, C, C], "C | int | None"]
"""What serves in a pane answers to (c1, c2): a cluster, -1 for no answer, None where nothing serves yet."""


def nothing_serves(_pane: int, _c1: object, _c2: object) -> None:
    """No table yet."""


def recount(
    watches: Iterable[Watch[C]],
    rules: Rules,
    predict: Predict[C] = nothing_serves,
    microbits: Callable[[C], int] = lambda _: 0,
) -> Recount[C]:
    """Count and score watches, which are given in event-time order."""
    result: Recount[C] = Recount()
    of_user: dict[Hashable, list[tuple[int, Watch[C]]]] = defaultdict(list)
    for number, watch in enumerate(watches):
        of_user[watch.user].append((number, watch))
    found: list[tuple[int, tuple[Hashable, C, C, C]]] = []
    for mine in of_user.values():
        for sequence in _sequences(mine, rules):
            _count(sequence, rules, predict, microbits, result, found)
    result.transitions = [transition for _, transition in sorted(found, key=lambda entry: entry[0])]
    return result


def _sequences(watches: Sequence[tuple[int, Watch[C]]], rules: Rules) -> list[list[tuple[int, Watch[C]]]]:
    """Cut where the time since the previous watch is strictly greater than the gap, then de-duplicate."""
    pieces: list[list[tuple[int, Watch[C]]]] = []
    for at, (number, watch) in enumerate(watches):
        since = watch.time_ms - watches[at - 1][1].time_ms
        if at == 0 or (rules.gap_ms is not None and since > rules.gap_ms):
            pieces.append([])
        pieces[-1].append((number, watch))
    return [_deduplicated(piece, adjacent=rules.adjacent) for piece in pieces]


def _deduplicated(piece: list[tuple[int, Watch[C]]], *, adjacent: bool) -> list[tuple[int, Watch[C]]]:
    kept: list[tuple[int, Watch[C]]] = []
    for entry in piece:
        seen = kept[-1:] if adjacent else kept
        if all(earlier.cluster != entry[1].cluster for _, earlier in seen):
            kept.append(entry)
    return kept


def _count(
    sequence: list[tuple[int, Watch[C]]],
    rules: Rules,
    predict: Predict[C],
    microbits: Callable[[C], int],
    result: Recount[C],
    found: list[tuple[int, tuple[Hashable, C, C, C]]],
) -> None:
    if len(sequence) >= 3:
        result.figures[sequence[2][1].time_ms // rules.pane_ms][SEQUENCES] += 1
    for at in range(2, len(sequence)):
        number, last = sequence[at]
        c1, c2 = sequence[at - 2][1].cluster, sequence[at - 1][1].cluster
        if c1 == last.cluster and not rules.allow_return:
            continue
        pane = last.time_ms // rules.pane_ms
        result.counts[pane, c1, c2, last.cluster] += 1
        found.append((number, (last.user, c1, c2, last.cluster)))
        figures = result.figures[pane]
        figures[TRANSITIONS] += 1
        predicted = predict(pane, c1, c2)
        if predicted is None:
            continue
        figures[SCORED] += 1
        figures[ANSWERED] += predicted != NO_ANSWER
        reachable = [w.cluster for _, w in sequence[at:] if w.time_ms - last.time_ms <= rules.window_ms]
        figures[HITS_SEQUENCE] += predicted in reachable
        if predicted == last.cluster:
            figures[HITS_NEXT] += 1
            figures[HIT_MICROBITS] += microbits(last.cluster)


def in_time(times_ms: Sequence[int], lateness_ms: int) -> list[bool]:
    """Tell for each event of one partition whether it lags no further than allowed behind the latest before it."""
    return [
        not any(time_ms < earlier - lateness_ms for earlier in times_ms[:at]) for at, time_ms in enumerate(times_ms)
    ]


def ids_by_first_sight(watches: Iterable[Watch[str]]) -> dict[str, int]:
    """Ids of cluster names: in the order of first event time and, within one instant, of name."""
    first: dict[str, int] = {}
    for watch in watches:
        first[watch.cluster] = min(first.get(watch.cluster, watch.time_ms), watch.time_ms)
    return {name: i for i, name in enumerate(sorted(first, key=lambda name: (first[name], name)))}


def answer(pairs: Mapping[tuple[int, int], int], backoff: Sequence[Sequence[int]], c1: int, c2: int) -> int:
    """Answer one pair: its own row, else the best answer of c2 that is neither c1 nor c2, else none."""
    if (c1, c2) in pairs:
        return pairs[c1, c2]
    ranked = backoff[c2] if c2 < len(backoff) else []
    return next((cluster for cluster in ranked if cluster not in (c1, c2)), NO_ANSWER)
