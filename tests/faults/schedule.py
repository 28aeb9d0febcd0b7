"""Which faults a siege goes through, and in which order: shuffled by the seed, in the right numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial

from tests.faults.siege import Siege

Fault = Callable[[Siege], None]

_SHUTDOWNS = ("fast", "immediate", "crash")


def scheduled(seed: int, *, n_kills: int, n_zombies: int, n_broker_restarts: int, n_store_restarts: int) -> list[Fault]:
    """List faults with at least `n_kills` kills of workers: two in ten at random, six at a write, two in recovery."""
    n_recovery = n_kills // 10  # of two kills each
    n_ambush = n_kills * 6 // 10
    faults: list[Fault] = [Siege.kill_in_recovery] * n_recovery + [Siege.kill_in_ambush] * n_ambush
    faults += [Siege.kill] * (n_kills - 2 * n_recovery - n_ambush)
    faults += [Siege.make_zombie] * n_zombies
    faults += [Siege.kill_evaluator] * (n_kills // 10)
    faults += [partial(Siege.restart_broker, crash=number % 2 == 1) for number in range(n_broker_restarts)]
    faults += [partial(Siege.restart_store, how=_SHUTDOWNS[number % 3]) for number in range(n_store_restarts)]
    random.Random(seed).shuffle(faults)
    return faults


def kill_at_writes(siege: Siege, n_kills: int, n_most: int) -> None:
    """Kill workers until `n_kills` died at a write and not by chance elsewhere, `n_most` of them at most."""
    _wait_for_work(siege)
    while siege.tally.done["kills at a write"] < n_kills and siege.tally.done["kills"] < n_most:
        siege.kill_in_ambush()
        siege.rest(0.2)


def go_through(siege: Siege, faults: Iterable[Fault], *, longest_pause_seconds: float = 2.5) -> None:
    """Inflict faults one after the other, mostly before the one before is got over."""
    _wait_for_work(siege)
    for fault in faults:
        fault(siege)
        siege.rest(siege.random.uniform(0.1, longest_pause_seconds))


def _wait_for_work(siege: Siege) -> None:
    """Wait until every partition has been committed once."""
    siege.rest(60.0, lambda: len(siege.recoveries.look()) == siege.watches.n_partitions)
