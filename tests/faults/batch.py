"""The batch oracle: the same log as one file, counted by one undisturbed process."""

from __future__ import annotations

from pathlib import Path

from stream.database import Database
from stream.run_reader import RunReader
from tests.faults.account import truth_in
from tests.faults.watches import FLAGS, Truth, Watches
from tests.runs import run_quietly


def batch_truth(watches: Watches, n_records: int, folder: Path) -> Truth:
    """Count the first `n_records` records with ``tidegate run``."""
    log = folder / "log.jsonl"
    with log.open("wb") as file:
        file.writelines(record.value + b"\n" for record in watches.records(n_records))
    flags = {"engine": "frequency", "policy": "never", "permutations": 20, "min_support": 50, **FLAGS}
    summary = run_quietly(log, folder / "home", **flags)
    reader = RunReader(Database(folder / "home" / "runs.db"), summary["run_id"])
    try:
        return truth_in(reader)
    finally:
        reader.close()
