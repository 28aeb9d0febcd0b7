"""Flags for retrieval reach the rows: what a run asks with, asks again the same, and decides again the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refresh.table import TransitionTable
from refresh.table_store import TableStore
from refresh.template import Template
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli.decisions import decisions_group
from tidegate.cli.errors import run_cleanly

# No pair is compared and every table is published: this is about nothing but lines.
FLAGS: dict[str, Any] = {
    **SYNTHETIC,
    "window": "2d",
    "policy": "always+own",
    "permutations": 20,
    "min_support": 10_000,
    "hit_loss_z": 1e6,
    "max_changed_full": 1.0,
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_log(tmp_path_factory.mktemp("retrieval"), days=5, sessions=200)


def last_table(summary: dict[str, Any], home: Path) -> TransitionTable:
    return TableStore(home / "tables").load(summary["table_version"])


@pytest.mark.parametrize(
    "way",
    [{"retrieval": "global", "n_retrieved": 3}, {"retrieval_by": "trend", "retrieval_support": 1}],
    ids=["global", "trend"],
)
def test_a_run_asks_with_the_lines_that_were_asked_for_and_is_replayed_the_same(
    log: Path, way: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual, home = last_table(run_quietly(log, tmp_path / "usual", **FLAGS), tmp_path / "usual"), tmp_path / "home"
    table = last_table(run_quietly(log, home, **FLAGS, **way), home)
    assert table.content_checksum() != usual.content_checksum()
    manifest = TableStore(home / "tables").versions()[-1]
    assert manifest.template == f"next_interest.v1 sha256:{Template.packaged().sha256}"
    assert (table.clusters >= 0).sum(axis=1).max() == way.get("n_retrieved", 1)
    if "n_retrieved" in way:  # everybody's line: the same few clusters for all pairs of a window
        assert np.unique(table.contexts).shape[0] < np.unique(usual.contexts).shape[0] / 4
    assert run_cleanly(decisions_group, ["replay", "--home", str(home)]) == 0
    assert all("  same  " in line for line in capsys.readouterr().out.splitlines())
    assert last_table(run_quietly(log, home, **FLAGS, **way), home).content_checksum() == table.content_checksum()


def test_flags_at_their_defaults_are_the_run_as_it_always_was(log: Path, tmp_path: Path) -> None:
    one = run_quietly(log, tmp_path, **FLAGS)
    told = run_quietly(log, tmp_path, **FLAGS, retrieval="instance", retrieval_by="frequency")
    assert told["run_id"] == one["run_id"]
    assert last_table(told, tmp_path).content_checksum() == last_table(one, tmp_path).content_checksum()
