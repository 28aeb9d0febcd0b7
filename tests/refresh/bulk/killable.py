"""Workers that kill themselves: ``python -m tests.refresh.bulk.killable FOLDER SEED WORKERS`` writes JSON.

One process imports everything and forks the workers of each attempt. Each dies by SIGKILL at the n-th of the calls that
touch the disk or the engine, n drawn from the seed; the last attempt is left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from refresh.bulk import BulkOptions, infer_rows
from refresh.prompts import sort_for_prefix
from tests.refresh.bulk.engines import CountingEngine, all_pairs, keys_of

N_ATTEMPTS, LAST_CALL = 12, 60
ROWS = all_pairs()
SORTED = ROWS[sort_for_prefix(ROWS)]
CHUNK_ROWS = 20


def main() -> None:
    """Kill attempt after attempt, then let one come to its end."""
    folder, seed, n_workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    draw, killed, again = random.Random(seed), 0, 0
    for attempt in range(N_ATTEMPTS + 1):
        finished = {path.stem for path in folder.glob("order/*.shard")}
        dies_at = [draw.randint(1, LAST_CALL) if attempt < N_ATTEMPTS else None for _ in range(n_workers)]
        workers = [_fork(folder, attempt, number, at) for number, at in enumerate(dies_at)]
        statuses = [os.waitpid(worker, 0)[1] for worker in workers]
        killed += sum(os.WIFSIGNALED(status) for status in statuses)
        asked = {line for log in folder.glob(f"asked-{attempt}-*") for line in log.read_text().split()}
        again += len(asked & finished)
    digests = [path.read_text() for path in sorted(folder.glob("answers-*"))]
    print(json.dumps({"killed": killed, "finished_asked_again": again, "digests": digests}))


def _fork(folder: Path, attempt: int, number: int, dies_at: int | None) -> int:
    child = os.fork()
    if child:
        return child
    try:
        _work(folder, f"{attempt}-{number}", dies_at)
    except BaseException as error:  # a worker must never go on as the parent
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)


def _work(folder: Path, name: str, dies_at: int | None) -> None:
    if dies_at is not None:
        _set_traps(dies_at)
    engine = CountingEngine()
    log, inner = (folder / f"asked-{name}").open("a", buffering=1), engine.infer

    def infer(contexts: Any, **how: Any) -> Any:
        is_first = (SORTED.c1 == contexts.c1[0]) & (SORTED.c2 == contexts.c2[0])
        log.write(f"{int(np.flatnonzero(is_first)[0]) // CHUNK_ROWS:06d}\n")
        return inner(contexts, **how)

    engine.infer = infer  # type: ignore[method-assign]
    options = BulkOptions(chunk_rows=CHUNK_ROWS, lease_seconds=0.4, poll_seconds=0.02, owner=name)
    found = infer_rows(
        engine, keys_of(engine, ROWS), ROWS, options, top_n=2, folder=folder / "order", pane=1, is_by_hand=True
    )
    assert found is not None
    answers = found[0]
    (folder / f"answers-{name}").write_text(hash_of(answers.clusters, answers.probabilities))


def hash_of(*arrays: Any) -> str:
    """One name for the bytes of arrays."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def _set_traps(dies_at: int) -> None:
    """Count calls of what a crash may come before or after; die at one of them."""
    calls = [0]

    def trapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            for step in ("before", "after"):
                calls[0] += 1
                if calls[0] == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                if step == "before":
                    value = function(*args, **kwargs)
            return value

        return call

    for holder, name in ((os, "link"), (os, "fsync"), (Path, "unlink"), (CountingEngine, "infer")):
        setattr(holder, name, trapped(getattr(holder, name)))


if __name__ == "__main__":
    main()
