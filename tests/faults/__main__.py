"""Workers under faults on a real broker and a real store: ``python -m tests.faults [--kills 100] [--zombies 20]``.

Ends with one table and the exit code 0 if the counts are those of the oracles, and those of the deliberately wrong
workers are not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.table import Figure, publish
from tests.broker import KafkaBroker
from tests.components import find_kafka, find_postgres
from tests.faults.batch import batch_truth
from tests.faults.cold import ColdStarts
from tests.faults.disk_full import MountRefusedError, database_on, fill_up_disk, fill_up_files, small_disk
from tests.faults.nursery import Nursery
from tests.faults.orderly import end_in_order
from tests.faults.report import RIGHT, WRONG, exit_figures, recovery_figures, siege_figures, verdict
from tests.faults.schedule import go_through, kill_at_writes, scheduled
from tests.faults.siege import Siege
from tests.faults.watches import truth_of
from tests.faults.wrong import CONTROLS
from tests.postgres import PostgresServer

_N_COLD, _N_EXITS = 6, 6
_CONTROL_KILLS, _CONTROL_ZOMBIES = 8, 8


@dataclass(frozen=True)
class Ground:
    """Where sieges take place."""

    folder: Path
    broker: KafkaBroker
    postgres: PostgresServer
    nursery: Nursery
    seed: int

    def siege(self, name: str, **options: object) -> Siege:
        """Prepare a siege with warm starts and a database of its own, unless told otherwise."""
        chosen = {"postgres": self.postgres, "starter": self.nursery, "seed": self.seed} | options
        return Siege(name, self.folder, self.broker, **chosen)  # type: ignore[arg-type]


def main() -> None:
    """Go through all of it, publish the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of workers, by SIGKILL")
    parser.add_argument("--zombies", type=int, help="workers halted and woken; default: a fifth of the kills")
    parser.add_argument("--seed", type=int, default=0, help="of schedule and records")
    given = parser.parse_args()
    n_zombies = given.kills // 5 if given.zombies is None else given.zombies
    figures: list[Figure] = []
    with _ground(given.seed) as ground:
        parts = [_main_siege(ground, given.kills, n_zombies), _disk_full(ground), _orderly(ground)]
        try:
            for part in [*parts, *(_control(ground, control) for control in CONTROLS)]:
                figures.extend(part)
        finally:  # what is known is told, whatever becomes of the rest
            publish("faults", figures)
    missed = [
        each.name for each in figures if each.goal in (RIGHT, WRONG) and not str(each.value).startswith(each.goal)
    ]
    if missed:
        sys.exit(f"not as it must be: {', '.join(missed)}")


@contextmanager
def _ground(seed: int) -> Iterator[Ground]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-faults-")))
        for name in ("kafka", "postgres"):
            (folder / name).mkdir()
        broker = stack.enter_context(KafkaBroker(find_kafka(), folder / "kafka"))
        postgres = stack.enter_context(PostgresServer(find_postgres(), folder / "postgres"))
        nursery = stack.enter_context(Nursery(folder / "warm"))
        yield Ground(folder, broker, postgres, nursery, seed)


def _main_siege(ground: Ground, n_kills: int, n_zombies: int) -> Iterator[Figure]:
    counts = {"n_broker_restarts": max(1, n_kills // 25), "n_store_restarts": max(1, n_kills // 15)}
    with ground.siege("siege", rate=4_000) as siege:
        go_through(siege, scheduled(ground.seed, n_kills=n_kills, n_zombies=n_zombies, **counts))
        n_records, found = siege.finish()
    by_batch = batch_truth(siege.watches, n_records, ground.folder)
    result = verdict(found, truth_of(siege.watches, n_records), by_batch)
    yield from siege_figures(siege.tally, found, n_records, result, "`tidegate run` on a file, and plain Python")
    yield from recovery_figures(siege.recoveries, "amid other faults, warm restart at once")


def _disk_full(ground: Ground) -> Iterator[Figure]:
    with ground.siege("full-files", postgres=None, rate=2_000) as siege:
        siege.rest(3.0)
        n_waiting = fill_up_files(siege)
        yield _of_full_disk("SQLite, file size limit", n_waiting, siege)
    try:
        with (
            small_disk() as disk,
            database_on(ground.postgres, disk, "full-disk") as store,
            ground.siege("full-disk", store=store, rate=2_000) as siege,
        ):
            siege.rest(3.0)
            n_waiting = fill_up_disk(siege, disk)
            yield _of_full_disk("PostgreSQL, tablespace on a full disk", n_waiting, siege)
    except MountRefusedError as refused:
        yield Figure("disk full: PostgreSQL, tablespace on a full disk", None, "", RIGHT, f"no mount: {refused}")


def _of_full_disk(which: str, n_waiting: int, siege: Siege) -> Figure:
    n_records, found = siege.finish()
    result = verdict(found, truth_of(siege.watches, n_records))
    of = f"{n_waiting} processes said that they waited, {len(siege.tally.gave_up)} gave up; {n_records:,} records"
    return Figure(f"disk full: {which}", result, "", RIGHT, of)


def _orderly(ground: Ground) -> Iterator[Figure]:
    """Measure what users see, with processes that start as theirs do."""
    cold = ColdStarts(ground.folder / "cold-starts")
    store = ground.postgres.create_database("orderly")
    yield from exit_figures(
        end_in_order("orderly", ground.folder, ground.broker, store, cold, n_exits=_N_EXITS, rate=3_000)
    )
    with ground.siege("cold", starter=cold, rate=3_000) as siege:
        siege.rest(60.0, lambda: bool(siege.recoveries.look()))
        for _ in range(_N_COLD):
            siege.rest(6.0)
            siege.kill()
            siege.rest(60.0, lambda: siege.recoveries.is_over)
        siege.finish()
    yield from recovery_figures(siege.recoveries, "nothing else wrong, cold restart at once")


def _control(ground: Ground, control: str) -> Iterator[Figure]:
    with ground.siege(control, control=control, rate=2_000) as siege:
        faults = scheduled(
            ground.seed,
            n_kills=_CONTROL_KILLS // 2,
            n_zombies=_CONTROL_ZOMBIES,
            n_broker_restarts=0,
            n_store_restarts=0,
        )
        kill_at_writes(siege, _CONTROL_KILLS, 2 * _CONTROL_KILLS)
        go_through(siege, faults, longest_pause_seconds=1.0)
        n_records, found = siege.finish()
    result = verdict(found, truth_of(siege.watches, n_records))
    of = f"{siege.tally.done['kills']} kills, {siege.tally.done['zombies']} zombies, {n_records:,} records"
    yield Figure(f"wrong on purpose: {control}", result, "", WRONG, of)


if __name__ == "__main__":
    main()
