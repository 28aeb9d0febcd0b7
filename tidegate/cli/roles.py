"""What all roles of a shared run open: the store, the run's name, its windows, and the topics between roles."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from os import getpid

from prometheus_client import CollectorRegistry

from refresh.row_cache import RowCache
from refresh.table_place import open_tables
from refresh.table_store import TableStore
from stream.database import Database
from stream.ledger import Ledger
from stream.patience import StorePatience
from stream.run_reader import run_id_of
from stream.sequences import SequenceOptions
from stream.sources.control_topics import ControlTopics
from stream.sources.opening import parse_kafka_url
from tidegate.cli.exporting import Pulse, exporting
from tidegate.cli.measuring import Measuring
from tidegate.cli.stream_settings import drift_options, kafka_properties, sequence_options
from tidegate.clock import Clock
from tidegate.durations import parse_duration
from tidegate.errors import RequestError, StoreUnavailableError
from tidegate.group_config import GroupSettings

_LOG = logging.getLogger("tidegate")
_IDLE_SECONDS = 0.2
_OBSERVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Role:
    """A role's part in a run.

    Attributes
    ----------
    brokers, topic : str     where events come from
    owner : str              this process, for people who look into the store
    patiently : does what may have to wait for the store
    pulse : signs of life that its loop gives
    """

    settings: GroupSettings
    clock: Clock
    database: Database
    run_id: str
    source: str
    brokers: str
    topic: str
    owner: str
    sequences: SequenceOptions
    ledger: Ledger
    measuring: Measuring
    tables: TableStore
    topics: ControlTopics
    patiently: StorePatience
    pulse: Pulse

    @property
    def lateness_ms(self) -> int:
        """How far events may lag."""
        return parse_duration(self.settings.lateness, name="--lateness")

    def row_cache(self) -> RowCache:
        """Open the rows that were inferred before, by any refresher that shares the home folder."""
        return RowCache(self.settings.home / "rows" / self.run_id, self.settings.top_n)

    def exporting(self, registry: CollectorRegistry, role: str) -> AbstractContextManager[str | None]:
        """Export `registry` on the role's own port while it works, see `tidegate.cli.exporting`."""
        return exporting(self.settings, registry, role, self.pulse, self.run_id)


@contextmanager
def open_role(settings: GroupSettings, clock: Clock, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Role]:
    """Open what every role needs; closed again at the end. An absent store is waited for.

    Raises
    ------
    RequestError
        If the source is no topic.
    StoreError
        If the store cannot be opened, or was away for longer than the patience.
    """
    if not settings.source.startswith("kafka://"):
        raise RequestError(
            "workers share a topic, and this is none",
            "Give kafka://HOST:PORT/TOPIC, or read a file with `tidegate run`",
            place=settings.source,
        )
    brokers, topic = parse_kafka_url(settings.source)
    sequences = sequence_options(settings)
    with ExitStack() as stack:
        url = settings.store.get_secret_value() if settings.store else settings.home / "runs.db"
        patiently = StorePatience(clock, (settings.duration_ms("store_patience") or 0) / 1_000, should_stop)
        database = stack.enter_context(closing(patiently(lambda: Database(url))))
        source = f"kafka://{brokers}/{topic}"
        run_id = run_id_of(source, settings.identity())
        ledger = Ledger(database, run_id)
        topics = ControlTopics(brokers, settings.topics, run_id, kafka_properties(settings))
        stack.enter_context(closing(topics))
        yield Role(
            settings=settings,
            clock=clock,
            database=database,
            run_id=run_id,
            source=source,
            brokers=brokers,
            topic=topic,
            owner=settings.instance or f"{socket.gethostname()}:{getpid()}",
            sequences=sequences,
            ledger=ledger,
            measuring=Measuring(ledger, drift_options(settings), sequences.pane_ms, sequences.window_panes),
            tables=open_tables(settings.home, settings.tables, clock),
            topics=topics,
            patiently=patiently,
            pulse=Pulse(clock, [patiently]),
        )


def show_log() -> None:
    """Write what happens to standard error, one line an event."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)


def advance_until_over(
    role: Role,
    stop: threading.Event,
    advance: Callable[[], bool],
    is_over: Callable[[], bool],
    wait: Callable[[float], object] | None = None,
    observe: Callable[[], None] = lambda: None,
) -> None:
    """Do what is next, again and again; rest where nothing is. An absent store is waited for.

    Parameters
    ----------
    advance : does one thing and tells whether there was one
    is_over : whether nothing will come any more
    wait : rests for some seconds, or until a message wakes it; default: until `stop`
    observe : looks, every few seconds at most, how far the run has come

    Raises
    ------
    StoreUnavailableError
        If the store was away for longer than the patience.
    """
    patience_seconds = (role.settings.duration_ms("store_patience") or 0) / 1_000
    away_since: float | None = None
    rest = wait or stop.wait
    watch = seldom(role.clock, observe)
    while not stop.is_set():
        try:
            if advance():
                role.pulse.progress()
            else:
                if is_over():
                    observe()
                    return
                rest(_IDLE_SECONDS)
            watch()
            role.pulse.beat()
            away_since = None
        except StoreUnavailableError as error:
            now_seconds = role.clock.monotonic_seconds()
            away_since = now_seconds if away_since is None else away_since
            if now_seconds - away_since >= patience_seconds:
                raise
            role.pulse.store_is_away()
            _LOG.warning("the store is away: %s", error)
            stop.wait(1.0)


def seldom(clock: Clock, action: Callable[[], None]) -> Callable[[], None]:
    """Wrap an action that is worth doing every few seconds, so that it may be asked for at any time."""
    done_seconds = -_OBSERVE_SECONDS

    def act() -> None:
        nonlocal done_seconds
        now_seconds = clock.monotonic_seconds()
        if now_seconds - done_seconds >= _OBSERVE_SECONDS:
            done_seconds = now_seconds
            action()

    return act
