"""Whole runs inside tests, and what two of them must agree on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from refresh.table_store import TableStore
from stream.database import Database
from stream.run_reader import RunReader
from stream.worlds import world_named, write_log
from tidegate.cli.run import run
from tidegate.config import load_settings
from tidegate.counts import pair_of_key, successor_of_key, unpack_pairs

SYNTHETIC = {"positive": "engagement >= 0.5", "gap": "30m", "engine": "frequency"}


@dataclass(frozen=True)
class Result:
    """What a finished run left behind, free of ids, times and whatever else may differ."""

    summary: dict[str, Any]
    counts: dict[tuple[int, str, str, str], int]
    figures: dict[int, list[int]]
    decisions: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    remembered: list[dict[str, Any]]
    table_checksum: str


def assert_same_run(result: Result, expected: Result) -> None:
    """All but what is told of the whole run in its summary."""
    assert result.counts == expected.counts
    assert result.figures == expected.figures
    assert result.reports == expected.reports
    assert result.decisions == expected.decisions
    assert result.remembered == expected.remembered
    assert result.table_checksum == expected.table_checksum


def small_log(folder: Path, world: str = "abrupt", *, days: int = 9, sessions: int = 900, seed: int = 0) -> Path:
    """Write a log of a few ten thousand events."""
    path = folder / f"{world}-{seed}.csv"
    write_log(replace(world_named(world), days=days, sessions_per_day=sessions, seed=seed), path)
    return path


def run_quietly(source: str | Path, home: Path, **flags: Any) -> dict[str, Any]:
    """Run to the end, without a terminal."""
    settings = load_settings({"source": str(source), "home": home, **flags})
    return run(settings, Console(quiet=True), threading.Event())


def result_of(source: str | Path, home: Path, **flags: Any) -> Result:
    """Run to the end and read everything back from the disk."""
    return read_result(run_quietly(source, home, **flags), home)


def read_result(summary: dict[str, Any], home: Path) -> Result:
    """Read a finished run back."""
    reader = RunReader(Database(home / "runs.db"), summary["run_id"])
    try:
        return replace(read_records(reader, TableStore(home / "tables"), summary["table_version"]), summary=summary)
    finally:
        reader.close()


def read_records(reader: RunReader, tables: TableStore, version: int | None) -> Result:
    """Read what a run has left in the store, and the table that it ended with."""
    names, stats = reader.cluster_names(), reader.stats()
    records = [msgspec.json.decode(body) for body in reader.records().values()]
    counts = {
        (pane, names[a], names[b], names[c]): n for pane in stats for a, b, c, n in _triples(reader.counts(pane, pane))
    }
    return Result(
        summary={},
        counts=counts,
        figures={pane: figures.tolist() for pane, figures in stats.items()},
        decisions=[_timeless(r["decision"]) for r in records if r["decision"]],
        reports=[_timeless(r["report"]) for r in records if r["report"]],
        remembered=[{name: r[name] for name in ("memory", "policy_state", "course", "fine_tune")} for r in records],
        table_checksum=tables.load(version).content_checksum(),
    )


def _triples(part: Any) -> list[tuple[int, int, int, int]]:
    c1, c2 = unpack_pairs(pair_of_key(part.keys))
    keys = np.stack([c1, c2, successor_of_key(part.keys).astype(np.int32)], axis=1)
    triples, inverse = np.unique(keys, axis=0, return_inverse=True)
    totals = np.bincount(inverse.ravel(), part.counts).astype(int)
    return [(*map(int, triple), int(n)) for triple, n in zip(triples, totals, strict=True)]


def _timeless(record: dict[str, Any]) -> dict[str, Any]:
    """Without the name of the run, which follows from where its source lies, nor a version, which goes on counting."""
    kept = {key: value for key, value in record.items() if key != "run_id"}
    if "inputs" in kept:
        kept["inputs"] = {key: value for key, value in kept["inputs"].items() if key != "table_version"}
    if kept.get("order"):
        kept["order"] = {key: value for key, value in kept["order"].items() if key != "order_id"}
    if kept.get("flag"):
        kept["flag"] = {key: value for key, value in kept["flag"].items() if key != "flag_id"}
    return kept
