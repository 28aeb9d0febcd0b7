"""Is it fresh? One state, one sentence, and the reasons: pure, from what the run has left.

The order of the questions is the order of what an operator has to know first: whether anything serves, whether somebody
holds it back, whether what it rests on still moves, and only then what the last window showed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitoring.console import words
from monitoring.console.facts import (
    AlertFacts,
    CandidateFacts,
    OpenOrder,
    PaneFacts,
    ProgressFacts,
    RunFacts,
    TableFacts,
)
from monitoring.wording import counted
from tidegate.contracts import FineTune, FineTuneStatus

_MAX_PANES_BEHIND = 2
_MAX_UNDECIDED_PANES = 2
_WAITS_FOR_PERSON = {
    FineTuneStatus.PENDING_REVIEW: "waits for approval.",
    FineTuneStatus.HALTED: "was halted by a gate.",
    FineTuneStatus.FAILED: "has failed.",
}


class Freshness(StrEnum):
    """What the table is, in one word."""

    FRESH = "fresh"
    REFRESHING = "refreshing"
    STALE = "stale"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict rests on."""

    now_ms: int
    run: RunFacts | None
    panes: Sequence[PaneFacts]
    open_order: OpenOrder | None
    progress: ProgressFacts | None
    tables: TableFacts | None
    candidates: Sequence[CandidateFacts] = ()
    alerts: Sequence[AlertFacts] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state, its sentence, and what else has to be known."""

    state: Freshness
    sentence: str
    notes: tuple[str, ...] = ()


def judge_freshness(seen: Evidence) -> Verdict:
    """Judge whether what serves is fresh."""
    missing = _missing(seen)
    if missing is not None:
        return Verdict(Freshness.UNKNOWN, missing)
    faults = [fault for fault in (_held_back(seen), _rolled_back(seen), _stalled(seen), _behind(seen)) if fault]
    if faults:
        return Verdict(Freshness.STALE, faults[0], tuple(faults[1:]))
    if seen.open_order is not None:
        return Verdict(Freshness.REFRESHING, _refreshing_now(seen, seen.open_order))
    last = seen.panes[-1]
    if last.is_drifting and last.explanation is None:
        # Nothing is decided at the end of a source's last pane: the one before says what was done about drift.
        last = next((pane for pane in reversed(seen.panes) if pane.explanation is not None), last)
    if last.is_drifting and last.order is not None:
        return Verdict(Freshness.REFRESHING, _refreshed(last, seen), _ending(seen))
    return Verdict(Freshness.FRESH, _fresh(last, seen), _ending(seen))


def _missing(seen: Evidence) -> str | None:
    if seen.run is None:
        return "The store holds no run yet: nothing has been counted."
    if seen.tables is None:
        return "The place of the tables does not answer, so nobody can say what serves."
    if seen.tables.serving is None:
        end = words.instant(seen.run.closed_end_ms)
        since = f" The last closed pane ended {end}." if seen.run.closed_end_ms is not None else ""
        return f"No table serves yet: the first one follows the first whole window.{since}"
    if not seen.panes:
        return f"Version {seen.tables.serving} serves, but no pane of this run has been answered yet."
    return None


def last_order(panes: Sequence[PaneFacts], alerts: Sequence[AlertFacts] = ()) -> PaneFacts | AlertFacts | None:
    """Find the last order that was carried out, well or not; one that an alert asked for follows its pane's."""
    found: list[tuple[int, int, PaneFacts | AlertFacts]] = [
        (pane.pane, 0, pane) for pane in panes if pane.result is not None and pane.order is not None
    ]
    found += [(each.pane or 0, each.number, each) for each in alerts if each.result is not None]
    return max(found, key=lambda each: each[:2])[2] if found else None


def _held_back(seen: Evidence) -> str | None:
    """Say that the last order was not published, unless a person let it serve since."""
    pane = last_order(seen.panes, seen.alerts)
    if pane is None or pane.result is None or not pane.is_refused or seen.tables is None:
        return None
    kept = next((each for each in seen.candidates if each.order_id == pane.result.order_id), None)
    if kept is not None and kept.published_as is not None:
        return None
    serving = seen.tables.version(seen.tables.serving)
    of = f", of the window that ended {words.instant(serving.window_end_ms)}," if serving else ""
    failed = [words.gate(verdict.gate) for verdict in pane.result.gates if not verdict.is_passed]
    kept_by = f"its gates held it back ({', '.join(failed)})" if failed else f"it failed ({pane.result.problem})"
    end = words.instant(pane.end_ms)
    return (
        f"The refresh for the window that ended {end} is not served: {kept_by}. "
        f"Version {seen.tables.serving}{of} goes on serving."
    )


def _rolled_back(seen: Evidence) -> str | None:
    if seen.tables is None or not seen.tables.moves:
        return None
    move = seen.tables.moves[0]
    if move.action != "rollback" or move.to_version != seen.tables.serving:
        return None
    return (
        f"Version {move.to_version} serves because {move.who} rolled back to it on {words.instant(move.time_ms)} "
        f"(“{move.why}”). The next refresh starts from it."
    )


def _stalled(seen: Evidence) -> str | None:
    """Say that panes are closed and not answered, while nobody works on an order."""
    progress, run = seen.progress, seen.run
    if progress is None or run is None or not progress.is_shared or seen.open_order is not None:
        return None
    closed, recorded = progress.closed_end_ms, progress.recorded_end_ms
    if closed is None or recorded is None:
        return None
    n_behind = (closed - recorded) // run.pane_ms
    if n_behind <= _MAX_UNDECIDED_PANES:
        return None
    is_reported = progress.reported_end_ms is not None and progress.reported_end_ms > recorded
    who = "the controller has not decided" if is_reported else "the evaluator has not measured"
    return f"{counted(n_behind, 'closed pane')} since {words.instant(recorded)} wait: {who} on them."


def _behind(seen: Evidence) -> str | None:
    run = seen.run
    if run is None or run.has_ended or run.stream_ms is None:
        return None
    lag_ms = seen.now_ms - run.stream_ms
    if lag_ms <= _MAX_PANES_BEHIND * run.pane_ms:
        return None
    return (
        f"Events are counted up to {words.instant(run.stream_ms)}, {words.duration(lag_ms / 1_000)} behind the clock: "
        "what users have done since is not in the table."
    )


def _refreshing_now(seen: Evidence, order: OpenOrder) -> str:
    last = seen.panes[-1]
    drift = " It drifts beyond noise." if last.is_drifting and last.end_ms == order.window_end_ms else ""
    version = seen.tables.serving if seen.tables else None
    return (
        f"{counted(order.n_rows, 'row')} ordered for the window that ended "
        f"{words.instant(order.window_end_ms)} are being inferred.{drift} Version {version} serves meanwhile."
    )


def _refreshed(last: PaneFacts, seen: Evidence) -> str:
    assert last.order is not None
    calls = last.result.llm_calls if last.result else 0
    return (
        f"The window that ended {words.instant(last.end_ms)} drifts beyond noise; "
        f"{counted(calls, 'row')} inferred anew for it serve in version {seen.tables.serving if seen.tables else '?'}."
    )


def _fresh(last: PaneFacts, seen: Evidence) -> str:
    version = seen.tables.serving if seen.tables else None
    end = words.instant(last.end_ms)
    if last.is_drifting:
        return (
            f"Fresh as far as it pays: the window that ended {end} drifts beyond noise, but no row of version "
            f"{version} is worth its call."
        )
    if last.report is None or not last.report.pairs:
        return (
            f"Version {version} serves. Drift could not be judged in the window that ended {end}: too little traffic."
        )
    return f"Version {version} serves, and the window that ended {end} shows no drift beyond noise."


def _ending(seen: Evidence) -> tuple[str, ...]:
    ended = seen.run is not None and seen.run.has_ended
    return ("The source has ended: this is how it was left.",) if ended else ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits for a person: what, and the path of the page where it is done."""

    sentence: str
    path: str


def waiting(
    candidates: Sequence[CandidateFacts], fine_tunes: Sequence[FineTune], tables: TableFacts | None
) -> tuple[Waiting, ...]:
    """List what waits for a person, the most urgent first."""
    found = [
        Waiting(f"Version {each.version} is corrupt: {each.problem}", "/tables")
        for each in (tables.versions if tables else ())
        if each.problem and tables and each.version == tables.serving
    ]
    found += [
        Waiting(f"Fine-tune {each.fine_tune_id} {_WAITS_FOR_PERSON[each.status]}", "/fine-tunes")
        for status in _WAITS_FOR_PERSON
        for each in fine_tunes
        if each.status is status
    ]
    found += [
        Waiting(f"Order {each.order_id} was held back by its gates, and may be overridden.", "/orders")
        for each in candidates
        if each.is_publishable
    ]
    return tuple(found)
