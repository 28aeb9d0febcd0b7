"""The ceiling: the client alone, fetching messages by the batch and dropping them.

``python -m bench.peers.bare BOOTSTRAP TOPIC N_MESSAGES FOLDER``, with the client settings of ``tidegate worker``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from confluent_kafka import TopicPartition

from bench.peers.meter import Meter
from stream.sources.collection import collection_paused
from stream.sources.kafka_group import BATCH_RECORDS, PREFETCH
from stream.sources.kafka_log import open_consumer, partitions_of


def main(bootstrap: str, topic: str, n_messages: int, folder: Path) -> None:
    """Consume and count."""
    consumer = open_consumer(bootstrap, PREFETCH)
    partitions = partitions_of(consumer, topic, topic)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    meter = Meter(n_messages + len(partitions))  # the end of a partition comes as one message more
    is_done = False
    while not is_done:
        with collection_paused():
            messages = consumer.consume(BATCH_RECORDS, timeout=0.05)
        is_done = meter.advance(len(messages))
    meter.write(folder)
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
