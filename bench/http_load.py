"""A client that keeps connections busy and looks at every answer: ``python -m bench.http_load --port P …``.

Each connection has one request in flight, over HTTP/1.1 kept alive, on plain sockets and uvloop, so that a core of load
outruns a core of service. The tables must be those of `bench.marked_tables`. Ends after so many seconds or requests,
whichever comes first, or at SIGTERM, and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
import numpy as np
import uvloop

from bench.marked_tables import mark_of

_BATCH_PAIRS = 50


@dataclass
class Seen:
    """What came back; ``latencies`` in seconds."""

    n_answers: int = 0
    n_failed: int = 0
    n_mixed: int = 0
    n_by_version: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    first_failure: str = ""

    def look_at(self, head: bytes, body: bytes) -> None:
        """Count one response; mixed is one whose header, body and rows are not of one version."""
        self.n_answers += 1
        if not head.startswith(b"HTTP/1.1 200 "):
            self.fail(f"{head[:60]!r} {body[:200]!r}")
            return
        found = msgspec.json.decode(body)
        version = found["version"]
        self.n_by_version[version] = self.n_by_version.get(version, 0) + 1
        mark = mark_of(version)
        answers = found.get("answers", (found,))
        is_one = all(each["probability"] == mark for answer in answers for each in answer["next"])
        if not is_one or not all(answer["next"] for answer in answers) or _header(head) != version:
            self.n_mixed += 1

    def fail(self, reason: str) -> None:
        """Count a request without a good answer."""
        self.n_failed += 1
        self.first_failure = self.first_failure or reason


def _header(head: bytes) -> int:
    return int(head.partition(b"tidegate-version: ")[2].split(b"\r\n", 1)[0])


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load, number: int) -> None:
        self._load, self._drawn = load, random.Random(number)
        self._transport: Any = None
        self._received = b""
        self._sent_seconds = 0.0
        self._is_waiting = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if not self._load.goes_on():
            self._is_waiting = False
            self._transport.close()
            return
        self._is_waiting = True
        self._sent_seconds = time.perf_counter()
        self._transport.write(self._load.request(self._drawn))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < (length := int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0])):
            return
        self._load.seen.latencies.append(time.perf_counter() - self._sent_seconds)
        self._load.seen.look_at(head, body[:length])
        self._received = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_waiting:
            self._load.seen.fail(f"the connection was lost ({exc})")
        self._load.left()


class _Load:
    def __init__(self, given: argparse.Namespace) -> None:
        self.seen = Seen()
        self._given = given
        self._end_seconds = time.perf_counter() + given.seconds
        self._n_left, self._n_open = given.requests, given.connections
        self.has_ended = asyncio.Event()

    def goes_on(self) -> bool:
        self._n_left -= 1
        return self._n_left >= 0 and time.perf_counter() < self._end_seconds

    def end(self) -> None:
        self._end_seconds = 0.0

    def left(self) -> None:
        self._n_open -= 1
        if not self._n_open:
            self.has_ended.set()

    def request(self, drawn: random.Random) -> bytes:
        n = self._given.clusters
        if self._given.batch_share and drawn.random() < self._given.batch_share:
            pairs = [drawn.sample(range(n), 2) for _ in range(_BATCH_PAIRS)]
            body = json.dumps({"pairs": pairs, "n": 5}).encode()
            return b"POST /v1/next:batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        c1 = drawn.randrange(n)
        c2 = (c1 + drawn.randrange(1, n)) % n
        return b"GET /v1/next?c1=%d&c2=%d&n=5 HTTP/1.1\r\nHost: x\r\n\r\n" % (c1, c2)


async def _run(given: argparse.Namespace) -> dict[str, object]:
    load = _Load(given)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, load.end)
    started = time.perf_counter()
    for number in range(given.connections):
        await loop.create_connection(lambda number=number: _Connection(load, number), given.host, given.port)
    await load.has_ended.wait()
    seconds = time.perf_counter() - started
    found = asdict(load.seen)
    latencies_ms = np.array(found.pop("latencies") or [0.0]) * 1_000
    quantiles = {f"p{q:g}_ms": float(np.percentile(latencies_ms, q)) for q in (50, 99, 99.9)}
    return found | quantiles | {"max_ms": float(latencies_ms.max()), "rate": load.seen.n_answers / seconds}


def main() -> None:
    """Load a service and say what came back."""
    parser = argparse.ArgumentParser(prog="python -m bench.http_load", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--clusters", type=int, default=761)
    parser.add_argument("--batch-share", type=float, default=0.0, help="share of requests that ask for 50 pairs")
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
