"""The processes of a simulated run: workers, evaluators and the controller, as the command line wires them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from stream.bad_share import BadShare
from stream.broker import DeadLetter
from stream.closing import PaneCloser
from stream.database import Database
from stream.decoding.columns import DecodeOptions
from stream.decoding.engagement import PositiveRule
from stream.decoding.messages import MessageDecoder
from stream.events import Outcome
from stream.gate import PatientGate
from stream.group.options import GroupOptions
from stream.group.worker import GroupWorker
from stream.predictions import Predictions, index_predictions, no_predictions
from stream.run_reader import RunReader, RunState
from stream.shard import Shard, ShardOptions
from stream.shard_store import ShardStore, join_run
from stream.shared_codes import ShardCodes, SharedCodes
from tests.simulation.coordinator import GroupMember
from tests.simulation.oracle import MICROBITS_OF_A_HIT, ranking
from tests.simulation.scenario import CLUSTERS, Scenario
from tests.simulation.topic import MAX_AHEAD_MS, Log
from tidegate.clock import Clock
from tidegate.errors import BrokerError

RUN = "run"
_FOR_EVER_SECONDS = 1e9
_FRESH_SECONDS = 0.2


class Process(Protocol):
    """Something that takes steps."""

    name: str
    is_doomed: bool

    def step(self) -> None:
        """Do a little."""
        ...


@dataclass
class Letters:
    """One worker's producer of dead letters; those that are queued die with it, or arrive all the same.

    Attributes
    ----------
    arrived : what the dead-letter topic holds
    late : partition -> offsets that were found late since the partition was given, and when they were
    """

    arrived: list[DeadLetter]
    point: Callable[[str], None]
    refuses: Callable[[], bool]
    stream_ms: Callable[[], int | None]
    queued: list[DeadLetter] = field(default_factory=list)
    late: dict[int, dict[int, int | None]] = field(default_factory=dict)

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Queue letters."""
        self.queued += letters
        for letter in letters:
            if letter.outcome is Outcome.LATE:
                self.late.setdefault(letter.partition, {})[letter.offset] = self.stream_ms()

    def forget(self, partition: int) -> None:
        """Begin anew with a partition that is given."""
        self.late.pop(partition, None)

    def flush(self) -> None:
        """Deliver what is queued, or fail half-way."""
        self.point("before the dead letters")
        if self.queued and self.refuses():
            self.arrive(len(self.queued) // 2)
            raise BrokerError("the simulated broker refused dead letters", "Wait", place="dead letters")
        self.arrive(len(self.queued))
        self.point("after the dead letters")

    def arrive(self, n: int) -> None:
        """Let the first `n` arrive."""
        self.arrived += self.queued[:n]
        del self.queued[:n]


class SimulatedVerdicts:
    """What one worker knows of decisions: a table follows from every closed pane once the controller has looked.

    Looks into the store now and then, as the real ones do.
    """

    def __init__(self, scenario: Scenario, database: Database, clock: Clock, decided: Callable[[], int | None]) -> None:
        self._scenario, self._reader, self._clock, self._decided = scenario, RunReader(database, RUN), clock, decided
        self._state: RunState | None = None
        self._looked_seconds = 0.0

    def first_pane(self) -> int | None:
        """Pane in which the run begins."""
        return self._look().first_pane

    def stream_ms(self) -> int | None:
        """Watermark that all shards together have reached."""
        return self._look().stream_ms

    def _look(self) -> RunState:
        now_seconds = self._clock.monotonic_seconds()
        if self._state is None or now_seconds - self._looked_seconds >= _FRESH_SECONDS:
            self._state, self._looked_seconds = self._reader.state(), now_seconds
        return self._state

    def after(self, pane: int) -> Predictions | None:
        """Give the table that `pane` left, in the run's codes."""
        decided = self._decided()
        if decided is None or pane > decided:
            return None
        codes = self._reader.cluster_codes()
        backoff = np.full((len(codes), 2), -1, np.int32)
        backoff[:] = [codes[name] for name in ranking(self._scenario, pane)]
        none = np.zeros(0, np.int64)
        return index_predictions(none, none.astype(np.int32), backoff, np.full(1, MICROBITS_OF_A_HIT, np.int64))

    def latest(self) -> Predictions:
        """Nothing serves where nothing is waited for."""
        return no_predictions()


@dataclass
class WorkerProcess:
    """A worker, made anew of nothing but the store."""

    name: str
    scenario: Scenario
    database: Database
    clock: Clock
    member: GroupMember
    letters: Letters
    logs: Sequence[Log]
    decided: Callable[[], int | None]
    is_doomed: bool = False
    worker: GroupWorker | None = None

    @property
    def n_fenced(self) -> int:
        """Commits that were refused because another process had the shard."""
        return 0 if self.worker is None else self.worker.figures.n_fenced

    def step(self) -> None:
        """Start, or poll once and do what follows."""
        if self.worker is None:
            join_run(self.database, RUN, "topic", "{}", self.scenario.n_partitions)
            self.worker = self._wired()
        self.worker.step()

    def close(self) -> None:
        """Commit and leave, as SIGTERM asks for."""
        if self.worker is not None:
            self.worker.close()

    def abandon(self) -> None:
        """Leave after a failure."""
        if self.worker is not None:
            self.worker.abandon()

    def _wired(self) -> GroupWorker:
        scenario = self.scenario
        # Tables answer in codes, so with tables all names have codes from the beginning.
        codes = SharedCodes(self.database, RUN, CLUSTERS if scenario.scores else ())
        options = ShardOptions(scenario.sequences, scenario.lateness_ms, scenario.follows, scenario.duplicates_ms)
        verdicts = SimulatedVerdicts(scenario, self.database, self.clock, self.decided)

        def open_shard(partition: int) -> Shard:
            store = ShardStore(self.database, RUN, partition, owner=self.name)
            return Shard(store, [partition], options, ShardCodes(codes), "topic")

        return GroupWorker(
            self.member,
            open_shard,
            MessageDecoder(_decode_options(scenario), self.clock, explains_all=True),
            PatientGate(verdicts, self.clock, _FOR_EVER_SECONDS if scenario.scores else 0.0),
            self.letters,
            BadShare(1.0),
            verdicts.stream_ms,
            self.clock,
            GroupOptions(
                "topic",
                checkpoint_records=scenario.checkpoint_records,
                checkpoint_seconds=scenario.checkpoint_seconds,
                max_waiting=scenario.max_waiting,
                idle_after_seconds=scenario.idle_after_seconds,
                patience_seconds=scenario.patience_seconds,
                until_end=None if scenario.follows else {log.partition: log.end for log in self.logs},
            ),
        )


def _decode_options(scenario: Scenario) -> DecodeOptions:
    return DecodeOptions(
        user_column="user_id",
        cluster_column="category",
        time_column="timestamp",
        time_unit="ms",
        positive=PositiveRule.parse("engagement >= 0.5") if scenario.has_negatives else None,
        event_id_column="event_id" if scenario.has_ids else None,
        max_ahead_ms=MAX_AHEAD_MS,
    )


@dataclass
class EvaluatorProcess:
    """Closes panes; any number may try."""

    name: str
    scenario: Scenario
    database: Database
    is_doomed: bool = False

    def step(self) -> None:
        """Close the next pane if it is complete."""
        pane_ms, lateness_ms = self.scenario.sequences.pane_ms, self.scenario.lateness_ms
        PaneCloser(self.database, RUN, pane_ms, lateness_ms).close_next()


@dataclass
class ControllerProcess:
    """Decides on closed panes, some time after they were closed."""

    name: str
    database: Database
    is_doomed: bool = False
    decided: int | None = None

    def step(self) -> None:
        """Decide up to the last closed pane."""
        closed_pane = RunReader(self.database, RUN).state().closed_pane
        self.decided = self.decided if closed_pane is None else closed_pane
