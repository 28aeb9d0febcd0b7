"""``tidegate worker``: counts the partitions that its group gives it."""

from __future__ import annotations

import dataclasses
import gc
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from stream.bad_share import BadShare
from stream.broker import DeadLetterSink, NoDeadLetters
from stream.decoding.columns import DecodeOptions
from stream.decoding.messages import MessageDecoder
from stream.gate import PatientGate
from stream.group.options import GroupOptions
from stream.group.worker import GroupWorker
from stream.shard import Shard
from stream.shard_store import ShardStore, join_run
from stream.shared_codes import ShardCodes, SharedCodes
from stream.sources.kafka_group import KafkaDeadLetters, KafkaGroup
from stream.warm_up import load_kernels
from tidegate.allocation import return_large_blocks
from tidegate.cli.options import given_flags, settings_options
from tidegate.cli.roles import Role, open_role, show_log
from tidegate.cli.scoring import Scoring
from tidegate.cli.stopping import stop_signal
from tidegate.cli.stream_settings import (
    catalogue_of,
    decode_options,
    kafka_properties,
    message_format,
    shard_options,
)
from tidegate.cli.verdicts import StoreVerdicts
from tidegate.cli.worker_state import CommitDurations, exporting_worker
from tidegate.clock import SystemClock
from tidegate.config import load_settings
from tidegate.files import write_atomically
from tidegate.group_config import GroupSettings

_LOG = logging.getLogger("tidegate.worker")
_COLLECT_SECONDS = 30.0


@click.command("worker")
@settings_options(kind=GroupSettings)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the worker's figures here.")
def worker_command(config: Path | None, json_path: Path | None, **flags: Any) -> None:
    """Count partitions of a topic, together with other workers of the same group.

    Runs until it is told to stop; SIGTERM commits, leaves the group and ends it.
    """
    settings = load_settings(given_flags(flags), config, GroupSettings)
    show_log()
    with stop_signal() as stop, open_role(settings, SystemClock(), stop.is_set) as role:
        figures = work(role, stop)
    if json_path is not None:
        write_atomically(json_path, msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")


def work(role: Role, stop: threading.Event) -> dict[str, Any]:
    """Work until `stop`, or until everything is read where there is an end; returns the worker's figures.

    Raises
    ------
    TidegateError
        Whatever stopped it. What was read since the last commit is read again, by this worker or another.
    """
    settings = role.settings
    group = KafkaGroup(
        role.brokers,
        role.topic,
        settings.group or f"tidegate-{role.run_id}",
        instance=settings.instance,
        properties=kafka_properties(settings),
        from_earliest=settings.from_earliest,
    )
    n_partitions = len(group.partitions)
    role.patiently(lambda: join_run(role.database, role.run_id, role.source, settings.identity(), n_partitions))
    catalogue = catalogue_of(settings)
    decoding = decode_options(settings, catalogue)
    commits = CommitDurations()
    worker = role.patiently(lambda: _worker(role, group, catalogue, decoding, stop, commits))
    _settle(role, decoding)
    started_seconds = role.clock.monotonic_seconds()
    with exporting_worker(role, worker, group, commits):
        try:
            _work(role, worker, stop)
        except BaseException:
            worker.abandon()
            raise
        finally:
            gc.enable()
    figures = worker.figures
    return {
        "run_id": role.run_id,
        "events": sum(figures.outcomes.values()),
        "outcomes": figures.outcomes,
        "commits": figures.n_commits,
        "fenced": figures.n_fenced,
        "dead_letters": figures.n_dead_letters,
        "first_record_seconds": figures.first_seconds - started_seconds if figures.first_seconds else None,
        "busy_seconds": figures.last_seconds - figures.first_seconds if figures.first_seconds else None,
    }


def _work(role: Role, worker: GroupWorker, stop: threading.Event) -> None:
    collected_seconds = role.clock.monotonic_seconds()
    n_batches = 0
    while not stop.is_set() and not _is_done(role, worker):
        worker.step()
        role.pulse.beat()
        if worker.figures.n_batches > n_batches:
            n_batches = worker.figures.n_batches
            role.pulse.progress()
        if role.clock.monotonic_seconds() - collected_seconds >= _COLLECT_SECONDS:
            gc.collect()
            collected_seconds = role.clock.monotonic_seconds()
    worker.close()


def _settle(role: Role, decoding: DecodeOptions) -> None:
    """Load what the first records would otherwise wait for, and take the cycle collector off the way.

    Messages hold no cycles, but there are tens of thousands of new ones at any time, and the collector would search
    them again and again: it is run by hand now and then, and what is loaded by now is left out of it for good.
    """
    MessageDecoder(decoding, role.clock, format_=message_format(role.settings)).load_kernels()
    load_kernels(MessageDecoder(decoding, role.clock).decode, decoding, role.sequences)
    return_large_blocks()
    gc.collect()
    gc.freeze()
    gc.disable()


def _is_done(role: Role, worker: GroupWorker) -> bool:
    """Whether a worker that reads to an end has nothing left; one without partitions looks at the others."""
    if not role.settings.until_end:
        return False
    if worker.partitions:
        return worker.has_ended
    marks = role.ledger.marks()
    n_partitions = role.ledger.state().n_partitions
    return len(marks) == n_partitions and all(mark.is_finished for mark in marks.values())


def _worker(
    role: Role,
    group: KafkaGroup,
    catalogue: tuple[str, ...],
    decoding: DecodeOptions,
    stop: threading.Event,
    on_commit: Callable[[float], None],
) -> GroupWorker:
    settings = role.settings
    codes = SharedCodes(role.database, role.run_id, catalogue)
    options = dataclasses.replace(shard_options(settings, role.sequences), follows=not settings.until_end)
    verdicts = StoreVerdicts(role.ledger, Scoring(role.measuring, role.tables), role.clock)

    def open_shard(partition: int) -> Shard:
        store = ShardStore(role.database, role.run_id, partition, owner=role.owner)
        return Shard(store, [partition], options, ShardCodes(codes), role.source)

    def seconds_of(name: str) -> float:
        return (settings.duration_ms(name) or 0) / 1_000

    return GroupWorker(
        group,
        open_shard,
        MessageDecoder(decoding, role.clock, explains_all=True, format_=message_format(settings)),
        PatientGate(verdicts, role.clock, seconds_of("gate")),
        _dead_letters(role),
        BadShare(settings.max_bad_share),
        verdicts.stream_ms,
        role.clock,
        GroupOptions(
            topic=role.topic,
            checkpoint_records=settings.checkpoint_records,
            checkpoint_seconds=seconds_of("checkpoint_interval"),
            max_waiting=settings.max_waiting,
            idle_after_seconds=seconds_of("idle_after"),
            patience_seconds=seconds_of("store_patience"),
            until_end=group.ends() if settings.until_end else None,
        ),
        stop.is_set,
        on_commit,
    )


def _dead_letters(role: Role) -> DeadLetterSink:
    topic = role.settings.dead_letters
    return NoDeadLetters() if topic is None else KafkaDeadLetters(role.brokers, topic, kafka_properties(role.settings))
