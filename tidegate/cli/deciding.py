"""From a closed pane's report to a decision, and from what became of it to the record of the pane.

Deterministic in what the store and the table store hold: asked again after a crash, the answer is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from refresh.evidence import Evidence
from refresh.fine_tune_flag import (
    FineTuneState,
    FlagAnswer,
    FlagOptions,
    PaneEvidence,
    answered,
    judge_weights,
)
from refresh.policies import Plan, Policy, PolicyState, View
from refresh.policies.anew import asked_anew
from refresh.policies.by_hand import ByAlert, ByHand
from refresh.policies.holding import after_failure, after_success, held
from refresh.retrieval import Kind, Retrieval
from refresh.row_cache import RowCache
from refresh.table import TransitionTable
from refresh.table_store import TableStore
from refresh.weights import WeightsStore
from stream.closing import PaneClosing
from stream.drift.course import CourseOptions, fold_course
from stream.sequence_kernel import HITS_NEXT, SCORED
from tidegate.cli.history import History
from tidegate.cli.measuring import Measuring
from tidegate.cli.records import PaneRecord
from tidegate.cli.scoring import serving_version
from tidegate.contracts import Decision, DriftReport, RefreshOrder, RefreshResult, Trigger
from tidegate.counts import SuccessorCounts
from tidegate.errors import TableError
from tidegate.hashing import cluster_seeds


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and the table that it changes."""

    plan: Plan
    table: TransitionTable

    @property
    def asks_for_refresh(self) -> bool:
        """Whether there is anything to carry out (rows taken from the counts are, though they cost no call)."""
        return self.plan.order is not None or self.plan.backoff is not None


@dataclass(frozen=True, slots=True)
class Deciding:
    """The policy, the judge of the weights and the watch over the course of drift, over a run's store and tables.

    Attributes
    ----------
    flag_answer : what a person has said to the flag of this name (None: the open one, of before flags had names)
    """

    measuring: Measuring
    history: History
    tables: TableStore
    cache: RowCache
    policy: Policy
    flags: FlagOptions
    course: CourseOptions
    top_n: int
    retrieval: Retrieval = field(default_factory=Retrieval)
    flag_answer: Callable[[str | None], FlagAnswer | None] = lambda _: None
    weights: WeightsStore | None = None
    """Fine-tuned weights to take on at the next pane; None where decisions are made again, or there are no weights."""

    def begin(self, closing: PaneClosing, before: PaneRecord | None) -> PaneRecord:
        """Record of a closed pane before anything is decided: what serves and which weights answer."""
        window_end_ms = self.measuring.window_end_ms(closing.pane)
        fine_tune, answer = before.fine_tune if before else None, None
        if fine_tune is not None and fine_tune.is_flagged:
            answer = self.flag_answer(fine_tune.flag_id)
            fine_tune = fine_tune if answer is None else answered(fine_tune, window_end_ms)
        record = PaneRecord(
            pane=closing.pane,
            window_end_ms=window_end_ms,
            table_version=serving_version(self.tables, before),
            model=before.model if before else None,
            weights=before.weights if before else None,
            weights_since_pane=before.weights_since_pane if before else None,
            asks_anew=before.asks_anew if before else False,
            fine_tune=fine_tune,
            flag_answer=answer,
            n_clusters=len(self.measuring.reader.cluster_names()),
            course=before.course if before else None,
        )
        return record if self.weights is None else with_weights(record, self.weights)

    def decide(
        self, closing: PaneClosing, record: PaneRecord, report: DriftReport | None, before: PaneRecord | None
    ) -> tuple[PaneRecord, Planned | None]:
        """Let the policy plan. No decision before the first full window, nor where no pane would be served by it."""
        evidence = self.evidence(closing, record, before)
        record = msgspec.structs.replace(record, memory=evidence.learned)
        if not self.measuring.is_full(closing.pane, closing.first_pane):
            return record, None
        tuned_ms = record.fine_tune.tuned_window_end_ms if record.fine_tune else None
        since = _with_hits_of(report, self.measuring.since(closing.pane, tuned_ms))
        if report is not None:
            course, report = fold_course(record.course, report, self.course)
            record = msgspec.structs.replace(record, course=course)
        record = msgspec.structs.replace(record, report=report, since_fine_tune=since)
        if closing.is_last:
            return record, None
        planned = self.plan(closing, record, before, evidence)
        decision = Decision(
            run_id=self.measuring.reader.run_id,
            window_end_ms=record.window_end_ms,
            policy=self.policy.name,
            inputs={**planned.plan.inputs, "table_version": record.table_version},
            order=planned.plan.order,
            flag=None,
            explanation=planned.plan.explanation,
        )
        return msgspec.structs.replace(record, decision=decision, policy_state=planned.plan.state), planned

    def evidence(self, closing: PaneClosing, record: PaneRecord, before: PaneRecord | None) -> Evidence:
        """Sum up what the run's panes say, up to this one."""
        memory = before.memory if before else None
        return self.history.evidence(closing.pane, closing.first_pane, self._names(record), memory)

    def _names(self, record: PaneRecord) -> list[str]:
        """Clusters by id, as far as they had a name when the pane was decided on: others may have come since."""
        return self.measuring.reader.cluster_names()[: record.n_clusters]

    def plan(
        self, closing: PaneClosing, record: PaneRecord, before: PaneRecord | None, evidence: Evidence | None = None
    ) -> Planned:
        """Plan on the pane's evidence; the same each time for the same records.

        Parameters
        ----------
        record : of the pane, as far as it was decided
        before : of the pane before
        evidence : `evidence` of both, where it is at hand
        """
        names = self._names(record)
        if record.table_version is None:
            table = TransitionTable.empty(tuple(names), self.top_n)
        else:
            table = self._serving(record.table_version, tuple(names), before)
        stats = self.measuring.reader.stats_of_pane(closing.pane)
        self.cache.catch_up()
        view = View(
            run_id=self.measuring.reader.run_id,
            pane=closing.pane,
            pane_ms=self.measuring.pane_ms,
            panes_since_first_table=closing.pane - closing.first_pane + 1 - self.measuring.window_panes,
            evidence=evidence or self.evidence(closing, record, before),
            window=self.measuring.window(closing.pane).without_buckets(),
            seeds=cluster_seeds(names),
            report=record.report,
            table=None if record.table_version is None else table,
            scored=int(stats[SCORED]),
            hits=int(stats[HITS_NEXT]),
            is_known=lambda pairs, retrieved: self.cache.knows(
                pairs, retrieved, closing.pane, record.weights_since_pane or 0
            ),
            last_order=_published_order(before),
            state=_state_of(before),
            retrieval=self.retrieval,
            before=self._window_before(closing),
            has_new_weights=record.asks_anew,
        )
        plan = self.policy.plan(view)
        if record.asks_anew and not isinstance(self.policy, (ByHand, ByAlert)):  # those get what they ordered
            plan = asked_anew(plan, view, self.top_n)
        return Planned(held(plan, view), table)

    def _window_before(self, closing: PaneClosing) -> SuccessorCounts:
        """Read the adjacent window before, where trends are retrieved and it lies in the run."""
        pane = self.measuring.reference_of(closing.pane, closing.first_pane)
        if self.retrieval.kind is not Kind.TREND or pane is None:
            return SuccessorCounts.empty()
        return self.measuring.window(pane).without_buckets()

    def _serving(self, version: int, names: tuple[str, ...], before: PaneRecord | None) -> TransitionTable:
        """Read the table that serves, grown to the clusters there are now.

        Raises
        ------
        TableError
            If it is of another catalogue: its ids would mean other clusters.
        """
        table = self.tables.load(version)
        known = table.cluster_names
        if len(known) <= len(names) and known == names[: len(known)]:
            return table.with_changes(cluster_names=names)
        at = next((i for i, pair in enumerate(zip(known, names, strict=False)) if pair[0] != pair[1]), len(names))
        mine = repr(names[at]) if at < len(names) else "none yet"
        own = before.table_version if before else None
        raise TableError(
            f"version {version} is of another catalogue: its cluster {at} is {known[at]!r}, that of the run is {mine}",
            f"Let a version of this run serve (tidegate table rollback --to {own or 'VERSION'} --reason TEXT), "
            "or give this run a home of its own",
            place=self.tables.place,
        )

    def conclude(self, record: PaneRecord, result: RefreshResult | None, before: PaneRecord | None) -> PaneRecord:
        """Say what serves after the pane and what the policy goes on with, and judge the weights.

        Parameters
        ----------
        before : record of the pane before
        """
        if result is not None:
            # Version 0 stands for none: an order for the first table that was not published.
            record = msgspec.structs.replace(record, result=result, table_version=result.table_version or None)
            record = msgspec.structs.replace(record, policy_state=self._state_after(record, result, before))
            if record.model is None and result.model is not None:
                tuned = FineTuneState(tuned_window_end_ms=record.window_end_ms)
                record = msgspec.structs.replace(record, model=result.model, fine_tune=tuned)
        if record.asks_anew:
            # The pane was served by rows of the weights before: it says nothing of these.
            is_answered = result is not None and is_published(result) and is_by_fine_tune(record)
            return msgspec.structs.replace(record, asks_anew=not is_answered)
        if record.fine_tune is None or record.decision is None:
            return record
        stats = self.measuring.reader.stats_of_pane(record.pane)
        evidence = PaneEvidence(
            run_id=self.measuring.reader.run_id,
            window_end_ms=record.window_end_ms,
            since_fine_tune=record.since_fine_tune,
            scored=int(stats[SCORED]),
            hits=int(stats[HITS_NEXT]),
        )
        state, flag = judge_weights(record.fine_tune, evidence, self.flags)
        decision = msgspec.structs.replace(record.decision, flag=flag)
        return msgspec.structs.replace(record, fine_tune=state, decision=decision)

    def _state_after(self, record: PaneRecord, result: RefreshResult, before: PaneRecord | None) -> PolicyState | None:
        left = record.policy_state
        if left is None or record.decision is None or record.decision.order is None:
            return left
        if is_published(result):
            return after_success(left)
        return after_failure(
            left,
            _state_of(before),
            pane=record.pane,
            llm_calls=result.llm_calls,
            window_panes=self.measuring.window_panes,
        )


def with_weights(record: PaneRecord, weights: WeightsStore) -> PaneRecord:
    """Take on what serves now, if that is another version than before."""
    picked = weights.pick(record.pane)
    if picked is None or picked.version == record.weights:
        return record
    return taken_on(record, picked.version, str(weights.path(picked.version)), picked.window_end_ms)


def taken_on(record: PaneRecord, version: int, model: str, tuned_window_end_ms: int) -> PaneRecord:
    """Let a version of the weights answer from this pane on: all rows are asked anew, and its level is not known."""
    return msgspec.structs.replace(
        record,
        model=model,
        weights=version,
        weights_since_pane=record.pane,
        asks_anew=record.table_version is not None,
        fine_tune=FineTuneState(tuned_window_end_ms=tuned_window_end_ms),
    )


def is_by_fine_tune(record: PaneRecord) -> bool:
    """Whether a pane's order asks all rows anew."""
    order = record.decision.order if record.decision else None
    return order is not None and order.trigger is Trigger.FINE_TUNE


def is_published(result: RefreshResult) -> bool:
    """Whether what was ordered serves."""
    return result.outcome not in ("gate_failed", "failed")


def _state_of(before: PaneRecord | None) -> PolicyState:
    return (before.policy_state if before else None) or PolicyState()


def _published_order(before: PaneRecord | None) -> RefreshOrder | None:
    """Order of the pane before, if the table that serves has it: what was not published did neither well nor badly.

    What new weights changed says nothing of rows that were bought.
    """
    if before is None or before.decision is None or is_by_fine_tune(before):
        return None
    was_refused = before.result is not None and not is_published(before.result)
    return None if was_refused else before.decision.order


def _with_hits_of(report: DriftReport | None, since: DriftReport | None) -> DriftReport | None:
    """Give the window's report against the tuned one the hits that its pane was reported with.

    A pane's hits grow after it, while sequences that cross its end go on: read again, they would be others.
    """
    if report is None or since is None:
        return since
    return msgspec.structs.replace(
        since,
        hit_rate_next=report.hit_rate_next,
        hit_rate_sequence=report.hit_rate_sequence,
        coverage=report.coverage,
    )
