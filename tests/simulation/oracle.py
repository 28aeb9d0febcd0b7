"""What must come out, from the logs alone and in plain Python: outcomes, transitions, figures and ids.

Where a run reads to the ends of its partitions, nothing depends on the schedule. Where it follows them, an idle
partition goes along with the others, and an event that then turns up behind them is late: whether it is depends on
when it was read. Which ones were is told to the oracle (`late`), and the invariants hold that within its bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from stream.events import Outcome
from stream.sequences import Dedup
from tests.reference import NO_ANSWER, Recount, Rules, Watch, recount
from tests.simulation.scenario import CLUSTERS, Scenario
from tests.simulation.topic import Log, Record

MICROBITS_OF_A_HIT = 7
Cell = tuple[int, str, str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """A record, and what becomes of it."""

    record: Record
    outcome: Outcome


def ranking(scenario: Scenario, pane: int) -> list[str]:
    """Answers of the table that a closed pane leaves, best first."""
    names = list(CLUSTERS)
    Random(f"table {scenario.seed} {pane}").shuffle(names)
    return names[:2]


def own_late(log: Log, lateness_ms: int) -> set[int]:
    """Offsets of events that lag too far behind an earlier one of their partition."""
    late, latest_ms = set(), None
    for record in log.records:
        if record.time_ms is None or record.is_ahead or not record.is_positive:
            continue
        if latest_ms is not None and record.time_ms < latest_ms - lateness_ms:
            late.add(record.offset)
        latest_ms = record.time_ms if latest_ms is None else max(latest_ms, record.time_ms)
    return late


def judge(log: Log, scenario: Scenario, behind: Collection[int]) -> list[Judged]:
    """Give every record of a log its outcome.

    Parameters
    ----------
    behind : offsets of events that turned up behind the stream; an id that lies so far back may be forgotten
    """
    late, seen = own_late(log, scenario.lateness_ms), set[str]()
    judged = []
    for record in log.records:
        outcome = Outcome.LATE if record.offset in behind else _outcome(record, seen, record.offset in late)
        judged.append(Judged(record, outcome))
        if scenario.has_ids and record.event_id is not None and record.is_positive:
            seen.add(record.event_id)
    return judged


def _outcome(record: Record, seen: set[str], is_late: bool) -> Outcome:
    if record.time_ms is None:
        return Outcome.MALFORMED
    if record.is_ahead:
        return Outcome.FUTURE
    if not record.is_positive:
        return Outcome.NEGATIVE
    if record.event_id in seen:
        return Outcome.DUPLICATE
    return Outcome.LATE if is_late else Outcome.COUNTED


def count_outcomes(judged: list[Judged], next_offset: int) -> Counter[str]:
    """Count the records before `next_offset` by outcome."""
    return Counter(str(each.outcome) for each in judged if each.record.offset < next_offset)


def watches_of(judged: list[Judged], next_offset: int, counted_ms: int) -> list[Watch[str]]:
    """Watches that are counted when all before `next_offset` is read and all before `counted_ms` is counted."""
    watches = [
        Watch(each.record.user, each.record.cluster, each.record.time_ms)
        for each in judged
        if each.outcome is Outcome.COUNTED and each.record.offset < next_offset and each.record.time_ms is not None
    ]
    return sorted((w for w in watches if w.time_ms < counted_ms), key=lambda watch: watch.time_ms)


def recount_watches(watches: list[Watch[str]], scenario: Scenario, first_pane: int | None) -> Recount[str]:
    """Count one partition's watches, scored by the tables where there are any."""
    options = scenario.sequences
    rules = Rules(
        options.pane_ms, options.window_ms, options.gap_ms, options.dedup is Dedup.ADJACENT, options.allow_return
    )

    def predict(pane: int, c1: str, c2: str) -> str | int | None:
        if not scenario.scores or first_pane is None or pane <= first_pane:
            return None
        return next((name for name in ranking(scenario, pane - 1) if name not in (c1, c2)), NO_ANSWER)

    return recount(watches, rules, predict, lambda _: MICROBITS_OF_A_HIT)
