"""The table of a siege."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.processes import cores
from bench.table import Figure
from tests.faults.account import Found, Recoveries, Tally, differences
from tests.faults.orderly import Exits
from tests.faults.siege import SESSION_SECONDS
from tests.faults.watches import Truth

RIGHT, WRONG = "bit-identical", "wrong"


def verdict(found: Found, *expected: Truth) -> str:
    """Say whether the store holds what each of the oracles says."""
    n_different = max(len(differences(found.truth, truth)) for truth in expected)
    return f"{WRONG}: {n_different:,} differences" if n_different else RIGHT


def siege_figures(tally: Tally, found: Found, n_records: int, result: str, oracles: str) -> Iterator[Figure]:
    """Give what was done, and what came of it."""
    done, verdicts = tally.done, tally.verdicts
    yield Figure(
        "kills of workers (SIGKILL)", done["kills"], "", ">= 100", f"{done['kills at a write']} of them at a write"
    )
    woken = ", ".join(f"{n} {name}" for name, n in sorted(verdicts.items()))
    yield Figure("zombies (SIGSTOP, woken later)", done["zombies"], "", ">= 20", woken)
    fenced = verdicts["fenced by the store"]
    yield Figure("zombies: fenced by the store", fenced, "", ">= 1", "a commit of theirs was refused")
    for name in ("evaluator kills", "broker restarts", "store restarts"):
        yield Figure(name, done[name], "", "", "")
    reasons = "; ".join(sorted({reason.partition(": ")[2][:60] for reason in tally.gave_up}))
    yield Figure("processes that gave up and were started again", len(tally.gave_up), "", "", reasons)
    yield Figure("shards taken over", found.n_takeovers, "", "", "rebalances and restarts, by partition")
    yield Figure("commits", found.n_commits, "", "", "")
    yield Figure("records", n_records, "", "", "6 partitions, 3 workers")
    panes = found.truth.figures.keys()
    closed_once = "each once" if found.panes_reported == sorted(panes) else f"reported {found.panes_reported}"
    yield Figure("panes closed", len(panes), "", "each once", closed_once)
    yield Figure("counts, figures and outcomes", result, "", RIGHT, f"against {oracles}")


def recovery_figures(recoveries: Recoveries, how: str) -> Iterator[Figure]:
    """Give the seconds from a kill until all that the log held then is committed."""
    goal = "<= 5"
    of = f"{how}, session timeout {SESSION_SECONDS:g} s, {cores()}"
    for has_name, which in ((True, "named worker"), (False, "nameless worker")):
        seconds = recoveries.seconds[has_name]
        if seconds:
            middle, worst = statistics.median(seconds), max(seconds)
            yield Figure(
                f"kill -9 to caught up, {which}", middle, "s", goal, f"median of {len(seconds)}, max {worst:.1f}; {of}"
            )


def exit_figures(exits: Exits) -> Iterator[Figure]:
    """Give what orderly exits came to."""
    of = f"{len(exits.seconds)} exits amid {exits.n_records:,} records, {cores()}"
    middle, worst = statistics.median(exits.seconds), max(exits.seconds)
    yield Figure("SIGTERM to exit", middle, "s", "<= 2", f"median, max {worst:.1f}; {of}")
    yield Figure("SIGTERM: exit codes other than 0", sum(code != 0 for code in exits.codes), "", "0", of)
    yield Figure("SIGTERM: records reprocessed", exits.n_reprocessed, "", "0", "all that workers read, less the log")
    yield Figure("SIGTERM: records left uncommitted", exits.n_uncommitted, "", "0", of)
