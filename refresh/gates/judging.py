"""All gates over one candidate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from refresh.gates.answers import Asked, Probed, exact_match, label_mass, validity
from refresh.gates.bounds import GateBounds
from refresh.gates.changes import coverage, rows_changed
from refresh.gates.held_out import Support
from refresh.gates.hit_rate import compare_hits, hit_rate
from refresh.table import TransitionTable
from tidegate.contracts import GateVerdict
from tidegate.counts import BucketedCounts


@dataclass(frozen=True, slots=True)
class Candidate:
    """A table that would be published, and what it is held against.

    Attributes
    ----------
    table : TransitionTable
    serving : TransitionTable or None    that serves now, grown to the same clusters; None before the first table
    asked : Asked                        what the engine was asked for, and how it answered
    probed : Probed or None              None where the engine writes no text
    is_full : bool                       whether all rows were asked for
    window : BucketedCounts              the last complete window
    newest : BucketedCounts              of its panes, those that the serving table has not seen
    support : Support                    what the lines that were read rest on
    serving_has_seen : bool              whether it was made from them all the same: there are no newer ones
    """

    table: TransitionTable
    serving: TransitionTable | None
    asked: Asked
    probed: Probed | None
    is_full: bool
    window: BucketedCounts
    newest: BucketedCounts
    support: Support
    serving_has_seen: bool = False


def judge(candidate: Candidate, bounds: GateBounds) -> tuple[GateVerdict, ...]:
    """Say what each gate finds; pure. A first table has nothing to be compared with. `O((t + r) log)`."""
    of_answers = (
        validity(candidate.asked, bounds),
        label_mass(candidate.asked, bounds),
        exact_match(candidate.probed, bounds),
    )
    if candidate.serving is None:
        return of_answers
    table, serving = candidate.table, candidate.serving
    comparison = compare_hits(
        table, serving, candidate.newest, candidate.support, serving_has_seen=candidate.serving_has_seen
    )
    return (
        *of_answers,
        coverage(table, serving, candidate.window.without_buckets(), bounds),
        rows_changed(table, serving, comparison, bounds, is_full=candidate.is_full),
        hit_rate(comparison, bounds),
    )


def failed(verdicts: Iterable[GateVerdict]) -> tuple[str, ...]:
    """Names of the gates that did not let the candidate pass."""
    return tuple(verdict.gate for verdict in verdicts if not verdict.is_passed)
