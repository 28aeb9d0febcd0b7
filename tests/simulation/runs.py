"""Running many seeds, and looking for one that catches a mutant."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.store_faults import Disk
from tests.simulation.world import World

FAULTS = (
    "crash",
    "zombie",
    "fenced",
    "rebalance",
    "revoked",
    "lost",
    "held up",
    "refused",
    "lost answer",
    "torn write",
    "torn by the store",
    "outage",
    "delivered again",
    "paused",
)
_LAST_STEPS = 25


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed; `failure` is None where everything held."""

    seed: int
    happened: Counter[str] = field(default_factory=Counter)
    failure: str | None = None
    last_steps: tuple[str, ...] = ()
    digest: str = ""


@cache
def _disk() -> Disk:
    return Disk()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what workers log of the faults out of the output."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def simulate(seed: int, mutation: AbstractContextManager[object] | None = None, *, whole: bool = False) -> Outcome:
    """Run one seed.

    Parameters
    ----------
    mutation : in which the code under test does something wrong
    whole : keep all steps, not the last ones
    """
    world = World(seed, _disk())
    failure = None
    with _quiet(), mutation or nullcontext():
        try:
            world.run()
        except Exception as error:  # whatever a mistake leads to
            failure = f"{type(error).__name__}: {error}"
    happened = world.happened + world.invariants.kinds() + Counter({"checks": world.invariants.n_checked})
    return Outcome(seed, happened, failure, tuple(world.trace[0 if whole else -_LAST_STEPS :]), world.digest())


def simulate_all(seeds: range, n_jobs: int) -> Iterator[Outcome]:
    """Run many seeds in processes of their own; in the order of the seeds."""
    with _pool(n_jobs) as pool:
        yield from pool.map(simulate, seeds, chunksize=10)


def _pool(n_jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(n_jobs, get_context("spawn"))


@dataclass(frozen=True, slots=True)
class Catch:
    """Whether a mutant was caught, by which seed, how many were tried, and what was seen."""

    name: str
    n_tried: int
    seed: int | None = None
    failure: str = ""


def catch(mutant: Mutant, n_most: int) -> Catch:
    """Look for a seed that catches a mutant: the known one first, then from 0 on."""
    n_tried = 0
    for seed in _candidates(mutant.seed, n_most):
        n_tried += 1
        failure = simulate(seed, mutant.patch()).failure
        if failure is not None:
            return Catch(mutant.name, n_tried, seed, failure)
    return Catch(mutant.name, n_tried)


def _candidates(known: int, n_most: int) -> Iterable[int]:
    return [known, *(seed for seed in range(n_most - 1) if seed != known)]


def _catch_number(number: int, n_most: int) -> Catch:
    return catch(MUTANTS[number], n_most)


def catch_all(n_most: int, n_jobs: int) -> Iterator[Catch]:
    """Look for seeds that catch each mutant."""
    with _pool(n_jobs) as pool:
        yield from pool.map(_catch_number, range(len(MUTANTS)), [n_most] * len(MUTANTS))
