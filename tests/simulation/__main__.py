"""``python -m tests.simulation --seeds N [--first S] [--jobs J]``, or ``--seed N --trace`` to replay one."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from tests.simulation.runs import FAULTS, Catch, catch_all, simulate, simulate_all

_MOST_SHOWN = 5


def main() -> int:
    """Run what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--mutant-seeds", type=int, default=400, help="schedules tried on a mutant at most; 0: none")
    parser.add_argument("--seed", type=int, help="replay one schedule")
    parser.add_argument("--trace", action="store_true", help="print all its steps")
    given = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    if given.seed is not None:
        return _replay(console, given.seed, is_traced=given.trace)
    is_good = _run(console, range(given.first, given.first + given.seeds), given.jobs)
    if given.mutant_seeds:
        is_good &= _mutants(console, given.mutant_seeds, given.jobs)
    return 0 if is_good else 1


def _replay(console: Console, seed: int, *, is_traced: bool) -> int:
    outcome = simulate(seed, whole=is_traced)
    for step in outcome.last_steps:
        console.print(step, markup=False)
    console.print(f"seed {seed}: {outcome.failure or 'everything held'}", markup=False)
    console.print(f"digest {outcome.digest}")
    return 0 if outcome.failure is None else 1


def _run(console: Console, seeds: range, n_jobs: int) -> bool:
    happened: Counter[str] = Counter()
    n_failed = 0
    for outcome in simulate_all(seeds, n_jobs):
        happened += outcome.happened
        if outcome.failure is not None:
            n_failed += 1
            if n_failed <= _MOST_SHOWN:
                console.print(*outcome.last_steps, sep="\n", markup=False)
                console.print(f"seed {outcome.seed}: {outcome.failure}", markup=False)
                console.print(f"replay: python -m tests.simulation --seed {outcome.seed} --trace", markup=False)
    table = Table("what happened", "times", title=f"{len(seeds)} schedules, {n_failed} failed")
    others = sorted(name for name in happened if name.endswith(" records"))
    for name in ("transactions", "checks", *FAULTS, *others):
        table.add_row(name, f"{happened[name]:,}")
    console.print(table)
    return not n_failed


def _mutants(console: Console, n_most: int, n_jobs: int) -> bool:
    caught: list[Catch] = list(catch_all(n_most, n_jobs))
    n_caught = sum(each.seed is not None for each in caught)
    table = Table("mutant", "seed", "tried", "what was seen", title=f"{n_caught} of {len(caught)} mutants caught")
    for each in caught:
        table.add_row(
            each.name, "survived" if each.seed is None else str(each.seed), str(each.n_tried), each.failure[:80]
        )
    console.print(table)
    return n_caught == len(caught)


if __name__ == "__main__":
    sys.exit(main())
