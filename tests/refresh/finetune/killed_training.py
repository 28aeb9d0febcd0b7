"""Trains, is killed with SIGKILL at one instant after the other, and goes on: ``python killed_training.py HOME BASE``.

Each life is a forked process that goes on with what the one before left on the disk. Run it with OMP_NUM_THREADS=1:
threads do not survive a fork.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from refresh.finetune import checkpoints, fine_tuning
from refresh.finetune.fine_tuning import Lesson, fine_tune
from refresh.finetune.full import open_full
from refresh.finetune.recipe import FineTuneRecipe
from tests.refresh.finetune.worlds import moved_samples
from tests.refresh.tiny_world import NAMES

RECIPE = FineTuneRecipe(epochs=2, batch_size=128, peak_rate=3e-3, check_every=6, patience=3)
SEED = 5


def lesson(base: Path | None) -> Lesson:
    """The training that is killed, and the one that is not."""
    return Lesson(open_full(base, NAMES, seed=SEED), moved_samples(), "checksum", RECIPE, SEED)


def die(*_: object) -> None:
    """Leave no time for anything."""
    os.kill(os.getpid(), signal.SIGKILL)


def after(n_calls: int, function: Callable[..., object]) -> Callable[..., object]:
    """Die at a function's call after so many."""
    n_done = 0

    def counted(*given: object, **more: object) -> object:
        nonlocal n_done
        n_done += 1
        return die() if n_done > n_calls else function(*given, **more)

    return counted


def in_a_fork(live: Callable[[], object]) -> int:
    """Return the signal that ended a life; 0 where it came to its end."""
    child = os.fork()
    if not child:
        live()
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def main() -> None:
    """Die between two steps, before a pointer, before a candidate, before a report; then live."""
    home, base = Path(sys.argv[1]), Path(sys.argv[2])
    lesson(base)  # all imports and samples, once for all lives

    def until_step(last: int) -> object:
        return fine_tune(lesson(base), home, on_progress=lambda _, step, __: die() if step == last else None)

    def within(module: object, name: str, n_calls: int) -> object:
        setattr(module, name, after(n_calls, getattr(module, name)))
        return fine_tune(lesson(base), home)

    lives = [
        lambda: until_step(4),  # before any check but the first
        lambda: until_step(9),
        lambda: within(checkpoints, "write_atomically", 2),  # weights are on the disk, the pointer is not
        lambda: within(checkpoints, "write_atomically", 7),
        lambda: within(fine_tuning, "write_candidate", 0),  # trained, not written
        lambda: within(fine_tuning, "write_atomically", 0),  # written, not reported
    ]
    ends = [in_a_fork(live) for live in lives]
    assert ends == [signal.SIGKILL] * len(lives), ends
    assert in_a_fork(lambda: fine_tune(lesson(base), home)) == 0


if __name__ == "__main__":
    main()
