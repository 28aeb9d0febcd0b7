"""Putting a run together from its settings: source, store, worker, tables, engine, policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from refresh.fine_tune_flag import FlagOptions
from refresh.policy import PolicyOptions, open_policy
from refresh.row_cache import RowCache
from refresh.table_store import TableStore
from stream.decoding.catalogue_file import load_catalogue
from stream.decoding.columns import DecodeOptions
from stream.decoding.engagement import PositiveRule
from stream.decoding.item_map import load_item_clusters
from stream.drift.window import DriftOptions
from stream.events import Source
from stream.sequences import Dedup, SequenceOptions
from stream.sources import open_source
from stream.store import RunStore
from stream.worker import StreamWorker, WorkerOptions
from tidegate.cli.engine_keeper import OnTraining, open_keeper
from tidegate.cli.pipeline import PipelineParts
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.clock import Clock
from tidegate.config import RunSettings
from tidegate.durations import parse_duration


@dataclass(frozen=True, slots=True)
class Assembly:
    """A run that is ready to go.

    Attributes
    ----------
    records : of the panes that an earlier, interrupted process has answered
    """

    source: Source
    parts: PipelineParts
    records: list[PaneRecord]

    @property
    def last_record(self) -> PaneRecord | None:
        """The last of the records, if there is one."""
        return self.records[-1] if self.records else None


@contextmanager
def assemble(settings: RunSettings, clock: Clock, on_training: OnTraining | None = None) -> Iterator[Assembly]:
    """Open everything that `settings` names; closed again at the end.

    Parameters
    ----------
    on_training : told how the training of a model goes, should the run need one

    Raises
    ------
    TidegateError
        If a setting, the source or the store is not what it should be.
    """
    sequences = SequenceOptions(
        pane_ms=parse_duration(settings.pane, name="--pane"),
        window_ms=parse_duration(settings.window, name="--window"),
        gap_ms=settings.gap_ms,
        dedup=Dedup(settings.dedup),
        allow_return=settings.allow_return,
    )
    economics = PolicyOptions(
        price=settings.price,
        horizon_windows=settings.horizon_windows,
        confidence_z=settings.confidence_z,
        cooldown_panes=settings.cooldown_panes,
        infers_backoff=settings.backoff == "engine",
    )
    policy = open_policy(settings.policy, sequences.pane_ms, economics, settings.top_n)
    catalogue = load_catalogue(settings.catalogue).names if settings.catalogue else ()
    with ExitStack() as stack:
        source = stack.enter_context(closing(_open_source(settings, catalogue, clock)))
        store = stack.enter_context(closing(RunStore(settings.home / "runs.db", source.identity, settings.identity())))
        cache = RowCache(settings.home / "rows" / store.run_id, settings.top_n)
        if not store.resumed:
            cache.clear()
        options = WorkerOptions(
            sequences=sequences,
            lateness_ms=parse_duration(settings.lateness, name="--lateness"),
            checkpoint_records=settings.checkpoint_records,
            follows=settings.follow,
        )
        worker = StreamWorker(source, store, options, known_clusters=catalogue)
        parts = PipelineParts(
            store=store,
            worker=worker,
            tables=TableStore(settings.home / "tables", clock),
            cache=cache,
            policy=policy,
            engines=open_keeper(settings, store.run_id, on_training),
            drift=_drift_options(settings),
            # Context is wholly fresh one window after a shift; what lasts for another window is the weights' fault.
            flags=FlagOptions(patience_panes=2 * sequences.window_panes, level_panes=sequences.window_panes),
            clock=clock,
            top_n=settings.top_n,
            keep_versions=settings.keep_versions,
        )
        yield Assembly(source, parts, [decode_record(body) for body in store.records().values()])


def _open_source(settings: RunSettings, catalogue: tuple[str, ...], clock: Clock) -> Source:
    options = DecodeOptions(
        user_column=settings.user_column,
        item_column=settings.item_column,
        cluster_column=settings.cluster_column,
        time_column=settings.time_column,
        time_unit=settings.time_unit,
        positive=PositiveRule.parse(settings.positive) if settings.positive else None,
        item_clusters=load_item_clusters(settings.items, settings.item_column or "item_id", settings.cluster_column)
        if settings.items
        else None,
        known_clusters=frozenset(catalogue) if catalogue else None,
        max_ahead_ms=parse_duration(settings.max_ahead, name="--max-ahead"),
    )
    properties = {key: secret.get_secret_value() for key, secret in settings.kafka.items()}
    return open_source(
        settings.source,
        options,
        clock,
        follow=settings.follow,
        from_earliest=settings.from_earliest,
        kafka_properties=properties,
    )


def _drift_options(settings: RunSettings) -> DriftOptions:
    return DriftOptions(
        min_support=settings.min_support,
        n_permutations=settings.permutations,
        max_permutations=max(20_000, settings.permutations),
        fdr=settings.fdr,
        seed=settings.seed,
    )
