"""``tidegate refresher``: carries orders out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
from confluent_kafka import OFFSET_END, TopicPartition
from prometheus_client import CollectorRegistry

from monitoring.refresher_metrics import RefresherMetrics
from refresh.bulk import BulkOptions
from stream.sources.kafka_log import open_consumer
from tidegate.cli.alert_answering import AlertRefresher
from tidegate.cli.alert_assembly import alert_planning_of
from tidegate.cli.answering import RefreshRole, is_over
from tidegate.cli.assembly import deciding_of
from tidegate.cli.engine_keeper import open_keeper
from tidegate.cli.gating import gating_of
from tidegate.cli.options import given_flags, settings_options
from tidegate.cli.refreshing import Refreshing
from tidegate.cli.roles import Role, advance_until_over, open_role, show_log
from tidegate.cli.stopping import stop_signal
from tidegate.cli.stream_settings import kafka_properties
from tidegate.cli.topic_following import publishing
from tidegate.clock import SystemClock
from tidegate.config import load_settings
from tidegate.group_config import GroupSettings


@click.command("refresher")
@settings_options(kind=GroupSettings)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
def refresher_command(config: Path | None, **flags: Any) -> None:
    """Carry open orders out: infer rows and publish table versions. Ends when a run that has an end is answered."""
    settings = load_settings(given_flags(flags), config, GroupSettings)
    show_log()
    with (
        stop_signal() as stop,
        open_role(settings, SystemClock(), stop.is_set) as role,
        publishing(settings, role.tables),
        orders(role) as wait_for_order,
    ):
        metrics = RefresherMetrics(CollectorRegistry(), role.clock)
        refresher = refresher_of(role, metrics)
        with role.exporting(metrics.registry, "refresher"):
            advance_until_over(role, stop, refresher.advance, lambda: is_over(role.ledger), wait_for_order)


def refresher_of(role: Role, metrics: RefresherMetrics | None = None) -> RefreshRole:
    """Put the refresher together; `metrics` are told of the order in hand."""
    settings, cache = role.settings, role.row_cache()
    refreshing = Refreshing(
        role.measuring,
        open_keeper(settings, role.run_id),
        cache,
        role.tables,
        role.clock,
        settings.top_n,
        settings.keep_versions,
        BulkOptions(chunk_rows=settings.chunk_rows, owner=role.owner, clock=role.clock),
        gating_of(settings),
        outlives_failures=True,
        in_hand=nullcontext if metrics is None else metrics.order,
    )
    deciding = deciding_of(role.settings, role.measuring, role.tables, role.sequences, cache)
    planning = alert_planning_of(settings, deciding)
    return RefreshRole(
        role.ledger,
        deciding,
        refreshing,
        role.topics.announce,
        AlertRefresher(planning, refreshing, role.clock, role.topics.announce),
    )


@contextmanager
def orders(role: Role) -> Iterator[Callable[[float], object]]:
    """Listen to the orders' topic; yields a wait that an order cuts short.

    What is to be done stands in the store, so a message that is missed costs a fraction of a second.
    """
    role.topics.create()
    of_all = {"group.id": f"tidegate-refreshers-{role.run_id}", "log_level": "3"}
    with closing(open_consumer(role.brokers, kafka_properties(role.settings) | of_all)) as consumer:
        # From the end: an order that was placed before is open in the store, or carried out.
        orders = role.topics.name("orders")
        consumer.assign([TopicPartition(orders, 0, OFFSET_END)])
        yield consumer.poll
