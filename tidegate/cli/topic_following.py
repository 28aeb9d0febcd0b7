"""Keeping ``--publish-topic`` at the version that serves, beside a run or a refresher."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from refresh.table_store import TableStore
from refresh.topic import KafkaRowLog, TopicPublisher
from stream.sources.opening import parse_kafka_url
from tidegate.cli.stream_settings import kafka_properties
from tidegate.config import RunSettings
from tidegate.errors import ConfigError, TidegateError

_LOG = logging.getLogger("tidegate.topic")
_LOOK_SECONDS = 1.0
_CHECK_LOOKS = 60
"""Looks at the pointer after which the topic itself is looked at: another process may have written to it."""


@contextmanager
def publishing(settings: RunSettings, tables: TableStore) -> Iterator[None]:
    """Send the version that serves to the topic, as it moves, while the block runs and once more at its end.

    The pointer is followed, so rollbacks are sent too, and what a crash kept from being sent is sent at the start. A
    version that is replaced within a second may be passed over. Does nothing where no topic is named.

    Raises
    ------
    ConfigError
        If the source is no topic, or the topic is not as it has to be.
    BrokerError
        At the start, or at the end, if the topic cannot be written; in between it is tried again.
    """
    if settings.publish_topic is None:
        yield
        return
    if not settings.source.startswith("kafka://"):
        raise ConfigError(
            f"the topic is made beside the source's, and {settings.source} is none",
            "Read from kafka://HOST:PORT/TOPIC, or leave it out",
            place="--publish-topic",
        )
    brokers, _ = parse_kafka_url(settings.source)
    with closing(KafkaRowLog(brokers, settings.publish_topic, kafka_properties(settings))) as log:
        publisher, stop = TopicPublisher(tables, log), threading.Event()
        follower = threading.Thread(target=follow, args=(tables, publisher.sync, stop.wait), name="tidegate-topic")
        follower.start()
        try:
            yield
        finally:
            stop.set()
            follower.join()
        publisher.sync()


def follow(tables: TableStore, sync: Callable[[], object], rests_until_stop: Callable[[float], bool]) -> None:
    """Call `sync` whenever the pointer has moved, and once a minute; what fails is said once and tried again."""
    seen: object = object()
    said, n_looks = "", 0
    while not rests_until_stop(_LOOK_SECONDS):
        n_looks += 1
        try:
            state = tables.pointer_state()
            if state != seen or n_looks % _CHECK_LOOKS == 0:
                sync()
            seen, said = state, ""
        except (TidegateError, OSError) as error:
            seen = object()
            if str(error) != said:
                _LOG.warning("the table's topic falls behind, it is tried again: %s", error)
            said = str(error)
