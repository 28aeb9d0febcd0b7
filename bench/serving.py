"""What look-ups cost, in process and over HTTP, and what they notice of versions that move.

``python -m bench.serving [--quick]``. A full table of 761 clusters (578,360 rows, five answers each). The service has a
core to itself and the client that loads it another one; every answer is checked to be of one version.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.marked_tables import publish_marked
from bench.processes import BenchError, measure, python
from bench.table import Figure, publish
from refresh.lookup import Lookup
from refresh.served_table import Histories
from refresh.table_shelf import PointerMove
from refresh.table_store import TableStore

CLUSTERS = 761
CONNECTIONS = 16
_START_SECONDS = 60.0


def main() -> None:
    """Measure and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 clusters, a tenth of the swaps and of the time")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        print(json.dumps(_lookups(Path(given.stage))))
        return
    share = 10 if given.quick else 1
    with tempfile.TemporaryDirectory() as folder:
        home, n_clusters = Path(folder), 200 if given.quick else CLUSTERS
        store = TableStore(home / "tables")
        for _ in range(3):
            publish_marked(store, n_clusters)
        rows = f"{n_clusters * (n_clusters - 1):,} rows"
        figures = [*_in_process(home, rows), *_over_http(home, rows, n_clusters, share)]
    publish("serving", figures)


def _in_process(home: Path, rows: str) -> Iterator[Figure]:
    found = json.loads(measure(python("-m", "bench.serving", "--stage", str(home)), one_core=True).output)
    one = f"{rows}, one core"
    yield Figure("in process, batched: best cluster", found["pairs_a_second"], "pairs/s", ">= 5,000,000",
                 f"batches of 100,000 random pairs, median of 20; {one}")  # fmt: skip
    yield Figure("in process, batched: top five", found["ranked_a_second"], "pairs/s", "", f"the same; {one}")
    yield Figure("in process, batched: top five, histories", found["unseen_a_second"], "pairs/s", "",
                 f"the same, ten clusters passed over a pair; {one}")  # fmt: skip
    yield Figure("in process, single: median", found["single_p50_us"], "µs", "", f"200,000 calls; {one}")
    yield Figure("in process, single: p99", found["single_p99_us"], "µs", "<= 5", f"200,000 calls; {one}")
    yield Figure("a version loaded", found["load_ms"], "ms", "", f"hashed, mapped and indexed, median of 5; {one}")


def _lookups(home: Path) -> dict[str, float]:
    store = TableStore(home / "tables")
    lookup = Lookup(store, check_every_ms=1_000)
    served = lookup.snapshot()
    drawn = np.random.default_rng(0)
    c1, c2 = (drawn.integers(0, served.n_clusters, 100_000, dtype=np.int32) for _ in range(2))
    histories = Histories(np.arange(0, 1_000_001, 10), drawn.integers(0, served.n_clusters, 1_000_000, dtype=np.int32))
    singles = np.empty(200_000)
    pairs = list(zip(c1.tolist(), c2.tolist(), strict=True))
    clock = time.perf_counter_ns
    for at in range(singles.shape[0]):
        a, b = pairs[at % len(pairs)]
        started = clock()
        lookup.one(a, b)
        singles[at] = clock() - started
    return {
        "pairs_a_second": 100_000 / _median_seconds(lambda: lookup.many(c1, c2), 20),
        "ranked_a_second": 100_000 / _median_seconds(lambda: served.many_ranked(c1, c2, 5), 20),
        "unseen_a_second": 100_000 / _median_seconds(lambda: served.many_ranked(c1, c2, 5, histories), 20),
        "single_p50_us": float(np.percentile(singles, 50)) / 1_000,
        "single_p99_us": float(np.percentile(singles, 99)) / 1_000,
        "load_ms": 1_000 * _median_seconds(lambda: Lookup(store), 5),
    }


def _median_seconds(function: Any, n: int) -> float:
    taken = []
    for _ in range(n):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def _over_http(home: Path, rows: str, n_clusters: int, share: int) -> Iterator[Figure]:
    store, n_swaps = TableStore(home / "tables"), 100 // share
    with _service(home) as url:
        port = url.rpartition(":")[2]
        _finish(_load(port, n_clusters, 1.0))  # warms both up
        still = _finish(_load(port, n_clusters, 20.0 / share))
        batches = _finish(_load(port, n_clusters, 10.0 / share, "--batch-share", "1"))
        load = _load(port, n_clusters, 600.0)
        swapped = [_timed(partial(_move, store), url, 1 + number % 3) for number in range(n_swaps)]
        load.terminate()
        moving = _finish(load)
        rolled_back = [
            _timed(partial(store.rollback, why="bench"), url, 1 + number % 3) for number in range(n_swaps // 5)
        ]
    on = f"GET /v1/next?…&n=5, {CONNECTIONS} connections kept alive, service on one core, client on another; {rows}"
    yield Figure("HTTP: rate", still["rate"], "requests/s", ">= 5,000", on)
    yield Figure("HTTP: median", still["p50_ms"], "ms", "", on)
    yield Figure("HTTP: p99", still["p99_ms"], "ms", "<= 5", on)
    yield Figure("HTTP: batches", batches["rate"] * 50, "pairs/s", "", f"POST /v1/next:batch of 50 pairs; {on}")
    under = f"{n_swaps} moves of the pointer under that load, {moving['n_answers']:,} answers; {rows}"
    yield Figure("swaps: failed", moving["n_failed"] + still["n_failed"], "answers", "0", under)
    yield Figure("swaps: mixed versions", moving["n_mixed"] + still["n_mixed"], "answers", "0", under)
    yield Figure("swaps: rate", moving["rate"], "requests/s", ">= 5,000", under)
    yield Figure("swaps: p99", moving["p99_ms"], "ms", "<= 5", under)
    yield Figure("swaps: slowest answer", moving["max_ms"], "ms", "", under)
    yield Figure("swaps: until served, median", float(np.median(swapped)), "s", "", f"from the move; {under}")
    alone = f"from the command, which verifies, to the first answer; {len(rolled_back)} without load; {rows}"
    yield Figure("rollback: median", float(np.median(rolled_back)), "s", "", alone)
    yield Figure("rollback: slowest", max(rolled_back), "s", "<= 1", alone)


def _move(store: TableStore, version: int) -> None:
    """Move the pointer and nothing else: verifying here would take the client's core from it."""
    before = store.current()
    store.shelf.move(
        PointerMove(time_ms=0, action="swap", from_version=before, to_version=version, who="bench", why="bench")
    )


def _timed(go_to: Callable[[int], object], url: str, version: int) -> float:
    """Seconds until an answer is of the version that `go_to` lets serve."""
    started = time.perf_counter()
    go_to(version)
    while _version(url) != version:
        if time.perf_counter() - started > _START_SECONDS:
            raise BenchError(f"version {version} does not come to serve")
        time.sleep(0.01)
    return time.perf_counter() - started


def _version(url: str) -> int:
    with urllib.request.urlopen(f"{url}/v1/next?c1=0&c2=1", timeout=10) as answer:
        return int(json.load(answer)["version"])


@contextmanager
def _service(home: Path) -> Iterator[str]:
    """``tidegate serve`` on the first core; gives its URL."""
    program = "from tidegate.cli.main import main; main()"
    with (home / "log").open("w") as log, _on({min(os.sched_getaffinity(0))}):
        process = subprocess.Popen(
            python("-c", program, "serve", "--home", str(home), "--port", "0"), stderr=log, env=_one_thread()
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while "serving http" not in (said := (home / "log").read_text()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the service did not start: {said[-2_000:]}")
            time.sleep(0.05)
        yield said.partition("serving ")[2].split("/v1/next")[0]
    finally:
        process.terminate()
        process.wait(20)


def _load(port: str, n_clusters: int, seconds: float, *more: str) -> subprocess.Popen[str]:
    cores = os.sched_getaffinity(0)
    command = ["-m", "bench.http_load", "--port", port, "--connections", str(CONNECTIONS)]
    command += ["--clusters", str(n_clusters), "--seconds", str(seconds), "--requests", "10000000", *more]
    with _on(cores - {min(cores)} or cores):
        return subprocess.Popen(python(*command), stdout=subprocess.PIPE, text=True, env=_one_thread())


def _finish(load: subprocess.Popen[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(load.communicate(timeout=120)[0])
    if found["n_failed"]:
        print(f"first failure: {found['first_failure']}")
    return found


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """Let processes be born on some cores only."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _one_thread() -> dict[str, str]:
    return os.environ | {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
