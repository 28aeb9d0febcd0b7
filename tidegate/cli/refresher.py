"""``tidegate refresher``: carries orders out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from confluent_kafka import Consumer, KafkaException

from refresh.row_cache import RowCache
from tidegate.cli.answering import RefreshRole, is_over
from tidegate.cli.assembly import deciding_of
from tidegate.cli.engine_keeper import open_keeper
from tidegate.cli.options import given_flags, settings_options
from tidegate.cli.refreshing import Refreshing
from tidegate.cli.roles import Role, advance_until_over, open_role, show_log
from tidegate.cli.stopping import stop_signal
from tidegate.cli.stream_settings import kafka_properties
from tidegate.clock import SystemClock
from tidegate.config import load_settings
from tidegate.errors import BrokerError
from tidegate.group_config import GroupSettings


@click.command("refresher")
@settings_options(kind=GroupSettings)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
def refresher_command(config: Path | None, **flags: Any) -> None:
    """Carry open orders out: infer rows and publish table versions. Ends when a run that has an end is answered."""
    settings = load_settings(given_flags(flags), config, GroupSettings)
    show_log()
    with stop_signal() as stop, open_role(settings, SystemClock()) as role, orders(role) as wait_for_order:
        refresher = refresher_of(role)
        advance_until_over(role, stop, refresher.advance, lambda: is_over(role.ledger), wait_for_order)


def refresher_of(role: Role) -> RefreshRole:
    """Put the refresher together."""
    settings = role.settings
    refreshing = Refreshing(
        role.measuring,
        open_keeper(settings, role.run_id),
        RowCache(settings.home / "rows" / role.run_id, settings.top_n),
        role.tables,
        role.clock,
        settings.top_n,
        settings.keep_versions,
    )
    return RefreshRole(
        role.ledger,
        deciding_of(role.settings, role.measuring, role.tables, role.sequences),
        refreshing,
        role.topics.announce,
    )


@contextmanager
def orders(role: Role) -> Iterator[Callable[[float], object]]:
    """Listen to the orders' topic; yields a wait that an order cuts short.

    What is to be done stands in the store, so a message that is missed costs a fraction of a second.
    """
    role.topics.create()
    config = kafka_properties(role.settings) | {
        "bootstrap.servers": role.brokers,
        "group.id": f"tidegate-refreshers-{role.run_id}",
        "auto.offset.reset": "latest",
        "log_level": 3,
    }
    consumer = Consumer(config, logger=logging.getLogger("tidegate.kafka"))
    try:
        consumer.subscribe([role.topics.name("orders")])
        yield consumer.poll
    except KafkaException as error:
        raise BrokerError(str(error), "Check the brokers", place=role.brokers) from error
    finally:
        consumer.close()
