"""Faust: an agent and two tables, as its documentation writes such a program.

``python -m bench.peers.faust_peer BOOTSTRAP TOPIC N_MESSAGES FOLDER``, in the peers' environment. Tables are RocksDB's
with changelog topics, every setting of the application is Faust's default. Counts are kept by partition, as Faust keeps
what is written while a partition's event is at hand, so that no topic has to be repartitioned.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from pathlib import Path

import faust

from bench.peers.answers import write_answers
from bench.peers.meter import Meter
from bench.peers.topology import Transition, extend, is_positive, key_of, transition_of


def main(bootstrap: str, topic: str, n_messages: int, folder: Path) -> None:
    """Run a worker until the last message is processed."""
    app = faust.App(
        f"faust-{folder.name}",
        broker=f"kafka://{bootstrap}",
        store="rocksdb://",
        datadir=str(folder / "faust"),
        topic_partitions=4,
        web_enabled=False,
    )
    watches = app.topic(topic, value_serializer="json")
    sequences = app.Table("sequences", default=list)
    counts = app.Table("counts", default=int)
    meter = Meter(n_messages)

    @app.agent(watches)
    async def count(stream: faust.StreamT) -> None:
        async for watch in stream:
            if is_positive(watch):
                user = watch["user_id"]
                sequence, transition = extend(sequences[user] or None, watch["category"], watch["timestamp"])
                sequences[user] = sequence
                if transition is not None:
                    counts[key_of(transition)] += 1
            if meter.advance():
                meter.write(folder)
                write_answers(folder, _by_transition(counts))
                os._exit(0)  # a stop from within an agent waits for that agent, for ever

    faust.Worker(app, loglevel=logging.ERROR).execute_from_commandline()


def _by_transition(counts: faust.Table) -> Counter[Transition]:
    """Add up what the partitions counted."""
    total: Counter[Transition] = Counter()
    for key, n in counts.items():
        total[transition_of(key)] += n
    return total


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
