"""Putting a run together from its settings: source, store, worker, tables, engine, policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass

from refresh.bulk import BulkOptions
from refresh.fine_tune_flag import FlagOptions
from refresh.policies import Policy, PolicyOptions, open_policy
from refresh.row_cache import RowCache
from refresh.table_place import open_tables
from refresh.table_store import TableStore
from refresh.weights import WeightsStore
from stream.events import Source
from stream.fine_tune_book import StoredFineTunes
from stream.sequences import SequenceOptions
from stream.sources import open_source
from stream.store import RunStore
from stream.worker import StreamWorker
from tidegate.cli.deciding import Deciding
from tidegate.cli.engine_keeper import OnTraining, open_keeper
from tidegate.cli.engine_settings import retrieval_of
from tidegate.cli.flagging import FlagAnswers, make_good
from tidegate.cli.gating import gating_of
from tidegate.cli.history import History
from tidegate.cli.measuring import Measuring
from tidegate.cli.pipeline import PipelineParts
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.cli.refreshing import OnRows, Refreshing
from tidegate.cli.scoring import Scoring
from tidegate.cli.stream_settings import (
    catalogue_of,
    course_options,
    decode_options,
    drift_options,
    kafka_properties,
    message_format,
    sequence_options,
    shard_options,
)
from tidegate.clock import Clock
from tidegate.config import RunSettings


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
def assemble(
    settings: RunSettings,
    clock: Clock,
    on_training: OnTraining | None = None,
    in_hand: Callable[[], AbstractContextManager[OnRows | None]] = nullcontext,
) -> Iterator[Assembly]:
    """Open everything that `settings` names; closed again at the end.

    Parameters
    ----------
    on_training : told how the training of a model goes, should the run need one
    in_hand : held while an order is carried out

    Raises
    ------
    TidegateError
        If a setting, the source or the store is not what it should be.
    """
    sequences = sequence_options(settings)
    catalogue = catalogue_of(settings)
    with ExitStack() as stack:
        source = stack.enter_context(closing(_open_source(settings, catalogue, clock)))
        store = stack.enter_context(closing(RunStore(settings.home / "runs.db", source.identity, settings.identity())))
        cache = RowCache(settings.home / "rows" / store.run_id, settings.top_n)
        if not store.resumed:
            cache.clear()
        options = shard_options(settings, sequences)
        worker = StreamWorker(
            source, store, options, known_clusters=catalogue, checkpoint_records=settings.checkpoint_records
        )
        tables = open_tables(settings.home, settings.tables, clock)
        measuring = Measuring(store, drift_options(settings), sequences.pane_ms, sequences.window_panes)
        weights = weights_of(settings, store.run_id)
        if weights is not None and not store.resumed:
            weights.start_over()
        deciding = deciding_of(settings, measuring, tables, sequences, cache, weights)
        engines = open_keeper(settings, store.run_id, on_training)
        parts = PipelineParts(
            store=store,
            worker=worker,
            deciding=deciding,
            refreshing=Refreshing(
                measuring,
                engines,
                cache,
                tables,
                clock,
                settings.top_n,
                settings.keep_versions,
                BulkOptions(chunk_rows=settings.chunk_rows, clock=clock),
                gating_of(settings),
                outlives_failures=settings.follow,
                in_hand=in_hand,
            ),
            scoring=Scoring(measuring, tables),
        )
        records = [decode_record(body) for body in store.records().values()]
        make_good(store, records[-1] if records else None, lambda: records, clock.now_ms())
        yield Assembly(source, parts, records)


def policy_of(settings: RunSettings, sequences: SequenceOptions) -> Policy:
    """Make the policy, with its prices."""
    return open_policy(settings.policy, sequences.pane_ms, policy_options(settings, sequences), settings.top_n)


def policy_options(settings: RunSettings, sequences: SequenceOptions) -> PolicyOptions:
    """Collect the prices and bounds of a policy."""
    return PolicyOptions(
        price=settings.price,
        horizon_windows=settings.horizon_windows,
        window_panes=sequences.window_panes,
        confidence_z=settings.confidence_z,
        cooldown_panes=settings.cooldown_panes,
        max_calls=settings.max_calls,
        max_calls_per_day=settings.max_calls_per_day,
        asks_model=settings.engine != "frequency",
        infers_backoff=settings.backoff == "engine",
    )


def _open_source(settings: RunSettings, catalogue: tuple[str, ...], clock: Clock) -> Source:
    options = decode_options(settings, catalogue)
    return open_source(
        settings.source,
        options,
        clock,
        follow=settings.follow,
        from_earliest=settings.from_earliest,
        kafka_properties=kafka_properties(settings),
        message_format=message_format(settings),
    )


def flag_options(sequences: SequenceOptions) -> FlagOptions:
    """When new weights are asked for."""
    # Context is wholly fresh one window after a shift; what lasts for another window is the weights' fault.
    return FlagOptions(patience_panes=2 * sequences.window_panes, level_panes=sequences.window_panes)


def weights_of(settings: RunSettings, run_id: str) -> WeightsStore | None:
    """Fine-tuned weights of a run, where its engine has any."""
    return None if settings.engine == "frequency" else WeightsStore(settings.home / "models" / run_id)


def deciding_of(
    settings: RunSettings,
    measuring: Measuring,
    tables: TableStore,
    sequences: SequenceOptions,
    cache: RowCache,
    weights: WeightsStore | None = None,
) -> Deciding:
    """Put the policy and the judge of the weights together.

    Parameters
    ----------
    weights : to take on as they are approved, by who records panes; None for who only plans or looks back
    """
    return Deciding(
        measuring=measuring,
        history=History(measuring.reader, sequences.window_panes),
        tables=tables,
        cache=cache,
        policy=policy_of(settings, sequences),
        flags=flag_options(sequences),
        course=course_options(settings, sequences),
        top_n=settings.top_n,
        retrieval=retrieval_of(settings),
        weights=weights,
        flag_answer=FlagAnswers(StoredFineTunes(measuring.reader.database), measuring.reader.run_id),
    )
