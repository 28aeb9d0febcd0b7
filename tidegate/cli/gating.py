"""The gates of a run: what a candidate is judged by, and where it goes if it does not pass."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from refresh.engines import Engine, TextGenerator
from refresh.evidence.memory import choose, memory_lengths
from refresh.gates import Candidate, GateBounds, Probed, Support, judge
from refresh.gates.aside import Candidates
from refresh.policies.plan import Plan, reason_counts
from refresh.probe import N_PROBES, probe
from refresh.refresher import Refreshed, contexts_of
from refresh.table_store import TableStore
from tidegate.cli.deciding import Planned
from tidegate.cli.measuring import Measuring
from tidegate.cli.records import PaneRecord
from tidegate.config import RunSettings
from tidegate.contracts import GateVerdict, Trigger
from tidegate.counts import BucketedCounts

_LOG = logging.getLogger(__name__)
_PROBED_SHARE, _FEWEST_PROBES = 20, 16  # one free answer for so many rows asked, so that the probe costs little


@dataclass(frozen=True, slots=True)
class Gating:
    """Judges candidates before they are published.

    Attributes
    ----------
    bounds : GateBounds
    candidates : Candidates or None     where those that fail are kept aside; None keeps none
    seed : int                          of the probe's sample
    """

    bounds: GateBounds = field(default_factory=GateBounds)
    candidates: Candidates | None = None
    seed: int = 0

    def judge(
        self,
        record: PaneRecord,
        planned: Planned,
        plan: Plan,
        refreshed: Refreshed,
        engine: Engine,
        measuring: Measuring,
        tables: TableStore,
    ) -> tuple[GateVerdict, ...]:
        """Say what each gate finds.

        Raises
        ------
        EngineError
            If the engine fails at the probe.
        """
        newest, serving_has_seen = unseen(record, measuring, tables)
        candidate = Candidate(
            table=refreshed.table,
            serving=None if record.table_version is None else planned.table,
            asked=refreshed.asked,
            probed=self._probed(plan, refreshed, engine),
            is_full=is_full(plan),
            window=measuring.window(record.pane),
            newest=newest,
            support=support_of(record, plan, measuring),
            serving_has_seen=serving_has_seen,
        )
        return judge(candidate, self.bounds)

    def _probed(self, plan: Plan, refreshed: Refreshed, engine: Engine) -> Probed | None:
        """Ask freely on rows of the order, where the order asked for any and the engine writes text."""
        if not refreshed.asked.n_rows or not isinstance(engine, TextGenerator):
            return None
        n_probes = min(max(refreshed.asked.n_rows // _PROBED_SHARE, _FEWEST_PROBES), N_PROBES)
        found = probe(engine, contexts_of(plan), self.seed, n_probes)
        return Probed(found.n, found.n_matched)

    def keep_aside(
        self,
        record: PaneRecord,
        plan: Plan,
        refreshed: Refreshed,
        engine: Engine,
        tables: TableStore,
        verdicts: tuple[GateVerdict, ...],
    ) -> int | None:
        """Keep a candidate that failed for a person to look at; returns its number."""
        sentences = "; ".join(f"{each.gate}: {each.sentence}" for each in verdicts if not each.is_passed)
        _LOG.warning(
            "order %s is not published, table version %s goes on serving: %s",
            refreshed.result.order_id,
            record.table_version or "none",
            sentences,
        )
        if self.candidates is None:
            return None
        return self.candidates.keep(
            refreshed.table,
            order_id=refreshed.result.order_id,
            # A run that has no table yet may begin where another one has left its own serving.
            replaces=tables.current() if record.table_version is None else record.table_version,
            gates=verdicts,
            window_end_ms=record.window_end_ms,
            trigger=refreshed.result.trigger,
            reasons=reason_counts(plan),
            engine_name=engine.name,
            engine_fingerprint=engine.fingerprint,
            template=engine.prompts.template.stamp,
        )


def is_full(plan: Plan) -> bool:
    """Whether a plan asks for every row, or new weights answer all of them anew."""
    return plan.order is not None and (plan.order.all_rows or plan.order.trigger is Trigger.FINE_TUNE)


def unseen(record: PaneRecord, measuring: Measuring, tables: TableStore) -> tuple[BucketedCounts, bool]:
    """Read the panes of the window that the serving table was not made from.

    At least the newest one, with the truth about it: whether it was made from that one, too.
    """
    if record.table_version is None:
        return BucketedCounts.empty(), False
    made_at = tables.manifest(record.table_version).window_end_ms // measuring.pane_ms - 1
    n_panes = min(max(record.pane - made_at, 1), measuring.window_panes)
    return measuring.reader.counts(record.pane - n_panes + 1, record.pane), made_at >= record.pane


def support_of(record: PaneRecord, plan: Plan, measuring: Measuring) -> Support:
    """Read what the lines of a plan rest on: plain counts of the window, or shrunk ones of the length in use."""
    learned = None if plan.replaces_rows or record.memory is None else choose(record.memory.pairs)
    if learned is None:
        return Support(measuring.window(record.pane))
    length, strength = learned
    n_panes = memory_lengths(measuring.window_panes)[length]
    return Support(measuring.reader.counts(record.pane - n_panes + 1, record.pane), strength)


def gate_bounds(settings: RunSettings) -> GateBounds:
    """Collect what the gates require."""
    return GateBounds(
        min_coverage=settings.min_coverage,
        coverage_tolerance=settings.coverage_tolerance,
        max_invalid_share=settings.max_invalid_share,
        min_label_mass=settings.min_label_mass,
        min_exact_match=settings.min_exact_match,
        max_changed_selective=settings.max_changed_selective,
        max_changed_full=settings.max_changed_full,
        hit_loss_z=settings.hit_loss_z,
    )


def gating_of(settings: RunSettings) -> Gating:
    """Put the gates of a run together."""
    return Gating(gate_bounds(settings), Candidates(settings.home / "candidates"), settings.seed)
