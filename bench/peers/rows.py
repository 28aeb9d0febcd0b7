"""The rows of the table: each peer's rates, and how Tidegate compares, per core and by the clock."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from bench.peers.runs import Peer, Turn
from bench.table import Figure

OURS = "tidegate worker"
GOALS = {"bare consume()": 0.6, "Kafka Streams": 1.0, "Quix Streams": 10.0, "Faust": 20.0}
"""What Tidegate's rate per core divided by theirs should at least be."""


def rows(
    peers: Sequence[Peer], turns: Mapping[str, Sequence[Turn]], missing: Mapping[str, str], machine: str
) -> Iterator[Figure]:
    """Make the table's rows.

    Parameters
    ----------
    turns : peer's name -> its turns, one a round
    missing : peer's name -> why it was not run
    machine : str      conditions that all rows share
    """
    for peer in peers:
        yield from _of_peer(peer, turns.get(peer.name, ()), missing.get(peer.name, ""), machine)
    for name, goal in GOALS.items():
        pairs = list(zip(turns.get(OURS, ()), turns.get(name, ()), strict=False))
        for figure, words in (("core_rate", "per core"), ("rate", "by the clock")):
            ratios = [_of(ours, figure) / _of(theirs, figure) for ours, theirs in pairs if _both(ours, theirs)]
            value = statistics.median(ratios) if ratios else None
            wanted = f">= {goal:g}" if figure == "core_rate" else ""
            yield Figure(f"{OURS} / {name}, {words}", value, "", wanted, "median of the rounds' ratios")


def _of_peer(peer: Peer, turns: Sequence[Turn], why_missing: str, machine: str) -> Iterator[Figure]:
    faults = sorted({turn.fault for turn in turns if turn.fault})
    verdict = ""
    if peer.counts and turns:
        verdict = f"; WRONG: {'; '.join(faults)}" if faults else "; all counts and answers right"
    elif faults:
        verdict = f"; {'; '.join(faults)}"
    partitions = f"{peer.n_partitions} partition{'s' * (peer.n_partitions != 1)}"
    of = f"{peer.conditions}; {peer.n_messages:,} messages, {partitions}; {machine}{verdict}"
    conditions = why_missing or of
    yield Figure(f"{peer.name}, per core", _median(turns, "core_rate"), "events/CPU-s", "", conditions)
    yield Figure(f"{peer.name}, by the clock", _median(turns, "rate"), "events/s", "", why_missing)


def _median(turns: Sequence[Turn], figure: str) -> float | None:
    values = [getattr(turn, figure) for turn in turns]
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _of(turn: Turn, figure: str) -> float:
    return float(getattr(turn, figure))


def _both(ours: Turn, theirs: Turn) -> bool:
    return ours.rate is not None and theirs.rate is not None
