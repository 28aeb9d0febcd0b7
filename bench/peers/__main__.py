"""Tidegate and its peers on the same topology, the same broker and the same messages: events a second and core.

``python -m bench.peers [--quick]``. Watches become sequences, transitions, counts by day, and the five most frequent
successors of each pair; every peer's counts and answers are held against a recount in plain Python.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bench.peers.answers import Answers
from bench.peers.messages import MESSAGES_OF_A_USER, N_CLUSTERS, make_log
from bench.peers.oracle import recount
from bench.peers.rows import rows
from bench.peers.runs import Peer, Turn, missing, peers, run
from bench.processes import cores
from bench.table import publish

LIMIT_SECONDS = 480
"""How long the rounds may take: none is begun that would go on for longer."""
_HEAP = ("-Xmx1g", "-XX:+UseG1GC", "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


def main() -> None:
    """Measure and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything, one round")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="peers whose name begins so")
    given = parser.parse_args()
    share, n_rounds = (20, 1) if given.quick else (1, 3)
    chosen = [peer for peer in peers(share) if not given.only or peer.name.startswith(tuple(given.only))]
    absent = {peer.name: why for peer in chosen if (why := missing(peer))}
    turns = _measure([peer for peer in chosen if peer.name not in absent], n_rounds)
    publish("peers", list(rows(chosen, turns, absent, _machine(max(map(len, turns.values()), default=0)))))


def _machine(n_rounds: int) -> str:
    rounds = f"{n_rounds} interleaved round{'s' * (n_rounds != 1)}"
    return (
        f"{cores()} shared with the broker, load {os.getloadavg()[1]:.1f}; median of {rounds}; {N_CLUSTERS} clusters, "
        f"{MESSAGES_OF_A_USER} messages a user; without start-up and the first tenth"
    )


def _measure(chosen: list[Peer], n_rounds: int) -> dict[str, list[Turn]]:
    from tests.broker import KafkaBroker
    from tests.components import find_kafka

    turns: defaultdict[str, list[Turn]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kafka").mkdir()
        with KafkaBroker(find_kafka(), folder / "kafka", jvm_options=_HEAP) as broker:
            expected = _fill(broker, chosen)
            started = time.perf_counter()
            for number in range(n_rounds):
                for peer in chosen:
                    n_messages, answers = expected[peer.topic]
                    place = folder / f"{peer.command[-1].rpartition('.')[2]}-{number}"
                    turns[peer.name].append(run(peer, broker.bootstrap, n_messages, answers, place))
                    print(f"round {number + 1}: {peer.name}: {_said(turns[peer.name][-1])}", flush=True)
                spent = time.perf_counter() - started
                if spent + spent / (number + 1) > LIMIT_SECONDS:
                    break
    return dict(turns)


def _fill(broker: object, chosen: list[Peer]) -> dict[str, tuple[int, Answers]]:
    """Write each peer's messages to its topic; returns how many they are and what has to come out of them."""
    log = make_log(max(peer.n_messages for peer in chosen))
    expected: dict[str, tuple[int, Answers]] = {}
    for peer in chosen:
        if peer.topic not in expected:
            part = log.part(peer.n_messages)
            broker.create_topic(peer.topic, peer.n_partitions)
            broker.produce(peer.topic, part.messages())
            expected[peer.topic] = len(part), recount(part.records())
            print(f"{peer.topic}: {len(part):,} messages, {len(expected[peer.topic][1].counts):,} counts", flush=True)
    return expected


def _said(turn: Turn) -> str:
    if turn.rate is None:
        return turn.fault
    return f"{turn.rate:,.0f} events/s, {turn.core_rate:,.0f} per core{'; ' * bool(turn.fault)}{turn.fault}"


if __name__ == "__main__":
    main()
