"""Running one peer once: its command, its time limit, its figures, and whether it counted right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.peers.answers import COUNTS, Answers, fault, read_answers
from bench.peers.meter import FIGURES
from bench.processes import ROOT, BenchError, measure, python

LIMIT_SECONDS = 150
PEERS_PYTHON = ROOT / ".tools" / "peers" / "bin" / "python"
KSTREAMS_LIBS = ROOT / ".tools" / "kstreams" / "libs"


@dataclass(frozen=True, slots=True)
class Peer:
    """One way of counting the topic.

    Attributes
    ----------
    name : str
    command : the program; broker, topic, number of messages and folder are appended
    n_messages : int     about how many it is given: what it processes in a bounded time
    n_partitions : int
    counts : bool        False for the bare client, which only fetches
    conditions : str     what it runs with, for the table
    """

    name: str
    command: tuple[str, ...]
    n_messages: int
    n_partitions: int
    conditions: str
    counts: bool = True

    @property
    def topic(self) -> str:
        """The topic with its messages; peers of equal size share it."""
        return f"watches-{self.n_messages}-{self.n_partitions}"


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of a peer.

    Attributes
    ----------
    rate : float             messages a second
    core_rate : float        messages a second of its own CPU time, all threads
    fault : str              what it counted wrong or why it did not end; empty where all is well
    """

    rate: float | None = None
    core_rate: float | None = None
    fault: str = ""


def peers(share: int = 1) -> list[Peer]:
    """List the peers, with `share`-th parts of the messages."""

    def ours(module: str) -> tuple[str, ...]:
        return tuple(python("-m", f"bench.peers.{module}"))

    def theirs(module: str) -> tuple[str, ...]:
        return (str(PEERS_PYTHON), "-m", f"bench.peers.{module}")

    java = ("java", "-Xmx1g", "-cp", str(KSTREAMS_LIBS / "*"), "tidegate.peers.SuccessorCounts")
    many, some, few, fewer = (n // share for n in (3_000_000, 800_000, 200_000, 30_000))
    return [
        Peer("bare consume()", ours("bare"), many, 4, "confluent-kafka, the worker's client settings", counts=False),
        Peer("tidegate worker", ours("tidegate_peer"), many, 4, "a commit a second, SQLite on disk"),
        Peer("Kafka Streams", java, some, 4, "4.1.1, EOS v2, RocksDB and changelogs, commit 1 s, first half untimed"),
        Peer("Quix Streams", theirs("quix_peer"), few, 1, "3.28.1, at-least-once, RocksDB and changelogs, defaults"),
        Peer("Faust", theirs("faust_peer"), fewer, 4, "0.15.3, RocksDB tables and changelogs, defaults"),
    ]


def missing(peer: Peer) -> str:
    """Say what would bring a peer that is not here; empty where it is."""
    program = peer.command[0]
    if program == str(PEERS_PYTHON) and not PEERS_PYTHON.is_file():
        return "not installed: run scripts/peers-setup"
    if program == "java" and not (shutil.which("java") and any(KSTREAMS_LIBS.glob("kstreams-peer-*.jar"))):
        return "not built: run scripts/peers-kstreams"
    return ""


def run(peer: Peer, bootstrap: str, n_messages: int, expected: Answers, folder: Path) -> Turn:
    """Run a peer once in `folder`, whose name is new, and drop what it wrote."""
    folder.mkdir()
    # `timeout` ends the peer, whatever it hangs on, and nothing else.
    limit = ("timeout", "--kill-after=5", str(LIMIT_SECONDS))
    arguments = (bootstrap, peer.topic, str(n_messages), str(folder))
    try:
        measure([*limit, *peer.command, *arguments], environment={"PYTHONPATH": str(ROOT)})
        return turn_of(json.loads((folder / FIGURES).read_bytes()), _fault(peer, folder, expected))
    except BenchError as error:
        return Turn(fault=f"did not end well: {str(error).splitlines()[-1][-200:]}")
    finally:
        shutil.rmtree(folder)


def turn_of(figures: Mapping[str, float], what_is_wrong: str) -> Turn:
    """Make rates of what a peer's meter wrote."""
    n = figures["messages"]
    return Turn(n / figures["wall_seconds"], n / figures["cpu_seconds"], what_is_wrong)


def _fault(peer: Peer, folder: Path, expected: Answers) -> str:
    if not peer.counts:
        return ""
    return fault(read_answers(folder), expected) if (folder / COUNTS).exists() else "it handed back no counts"
