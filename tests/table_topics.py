"""Reading a table's topic back, and comparing it with a table."""

from __future__ import annotations

from refresh.served_table import ServedTable
from refresh.table import TransitionTable
from refresh.topic import KafkaRowLog, TableCopy

Answers = dict[tuple[str, str], list[tuple[str, float]]]


def answers_of(table: TransitionTable) -> Answers:
    """What a table says of every pair, by names."""
    served, names = ServedTable(1, table), table.cluster_names
    found = {}
    for c1, name1 in enumerate(names):
        for c2, name2 in enumerate(names):
            answer = served.one(c1, c2, table.top_n)
            found[name1, name2] = [(names[c], p) for c, p in zip(answer.clusters, answer.probabilities, strict=True)]
    return found


def answers_in(copy: TableCopy, names: tuple[str, ...]) -> Answers:
    """What a copy says of every pair of `names`."""
    return {(a, b): [(each.name, each.probability) for each in copy.answer(a, b, 99)] for a in names for b in names}


def copy_of(brokers: str, topic: str) -> TableCopy:
    """Read a topic from its beginning, as a service that has just been started does."""
    log, copy = KafkaRowLog(brokers, topic), TableCopy()
    try:
        for record in log.read_on() or ():
            copy.apply(*record)
    finally:
        log.close()
    return copy
