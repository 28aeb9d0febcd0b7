"""Workers that are asked to end: they commit what they have read, and the next one begins right behind it."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream.database import Database
from stream.run_reader import RunReader, run_id_of
from tests.broker import KafkaBroker
from tests.faults.nursery import Member, Starter
from tests.faults.producer import SteadyProducer
from tests.faults.siege import SiegeError, run_flags
from tests.faults.watches import Watches
from tests.roles import arguments
from tidegate.config import load_settings
from tidegate.group_config import GroupSettings

_TICK_SECONDS = 0.02
_PATIENCE_SECONDS = 60.0
_STEP_RECORDS = 3_000


@dataclass
class Exits:
    """What a row of orderly exits came to.

    Attributes
    ----------
    codes : exit codes
    seconds : from SIGTERM to the end of the process
    n_read : records read by all workers together, according to themselves
    n_uncommitted : records that a worker had read and the store did not hold after its end, over all exits
    n_records : records in the topic
    """

    codes: list[int | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    n_read: int = 0
    n_uncommitted: int = 0
    n_records: int = 0

    @property
    def n_reprocessed(self) -> int:
        """Records that more than one worker read."""
        return self.n_read - self.n_records


def end_in_order(
    name: str, folder: Path, broker: KafkaBroker, store: str, starter: Starter, *, n_exits: int, rate: float = 5_000
) -> Exits:
    """Let one worker after the other count a growing topic, each until it is told to end; the last one reads it out."""
    watches = Watches(seed=11, n_partitions=6)
    broker.create_topic(name, partitions=watches.n_partitions)
    flags = run_flags(f"kafka://{broker.bootstrap}/{name}", store, folder)
    settings = load_settings(flags, None, GroupSettings)
    reader = RunReader(Database(store), run_id_of(settings.source, settings.identity()))
    producer = SteadyProducer(broker.bootstrap, name, watches, rate)
    producer.start()
    exits = Exits()

    def run_one(number: int, **more: Any) -> None:
        report = folder / f"exit-{number}.json"
        before = sum(reader.outcomes().values())
        member = starter.start(["worker", *arguments(flags | more), "--json", str(report)])
        if not more:
            _wait_for(lambda: sum(reader.outcomes().values()) >= before + _STEP_RECORDS, member)
            _end(member, exits)
        elif not member.wait(_PATIENCE_SECONDS) or member.code:
            raise SiegeError(f"{member.key} ended with {member.code}\n{member.log.read_text()}")
        exits.n_read += json.loads(report.read_bytes())["events"]
        exits.n_uncommitted += exits.n_read - sum(reader.outcomes().values())

    try:
        for number in range(n_exits):
            run_one(number)
    finally:
        exits.n_records = producer.finish()
    run_one(n_exits, until_end=True)
    reader.close()
    return exits


def _wait_for(is_there: Any, member: Member) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_there():
        if time.monotonic() >= deadline or not member.is_alive:
            member.kill()
            raise SiegeError(f"{member.key} does not count\n{member.log.read_text()}")
        time.sleep(_TICK_SECONDS)


def _end(member: Member, exits: Exits) -> None:
    began = time.monotonic()
    member.send(signal.SIGTERM)
    if not member.wait(_PATIENCE_SECONDS):
        member.kill()
        raise SiegeError(f"{member.key} does not end\n{member.log.read_text()}")
    exits.seconds.append(time.monotonic() - began)
    exits.codes.append(member.code)
