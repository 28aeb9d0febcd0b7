"""``tidegate run`` with a gate that fails: it ends as it should, and says what did not serve."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from refresh.table_store import TableStore
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli.errors import run_cleanly
from tidegate.cli.main import cli

FLAGS = {**SYNTHETIC, "policy": "always", "permutations": 20}


def test_a_refused_table_is_in_summary_list_and_home_and_looser_bounds_are_the_same_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, home = small_log(tmp_path, days=6, sessions=150), tmp_path / "home"
    # A bound for losses that no gain is beyond, so that nothing excuses the changed rows.
    strict = run_quietly(log, home, **FLAGS, max_changed_full=0.0, hit_loss_z=1e6)
    assert strict["is_finished"]
    assert (strict["table_version"], strict["refreshes"]) == (1, 1)
    refused = strict["refused"]
    assert refused
    assert {entry["outcome"] for entry in refused} == {"gate_failed"}
    assert "of the rows answer otherwise, at most 0.0% may by a full refresh" in refused[0]["why"]
    assert TableStore(home / "tables").current() == 1
    outcomes = [pane["outcome"] for pane in strict["by_pane"] if pane["outcome"]]
    assert outcomes == ["completed"] + ["gate_failed"] * len(refused)
    assert run_cleanly(cli, ["decisions", "list", "--json", "--home", str(home)]) == 0
    decided = json.loads(capsys.readouterr()[0])
    assert any("Not published, version 1 goes on serving: rows_changed" in each["explanation"] for each in decided)
    assert run_cleanly(cli, ["refresh-gate", "list", "--json", "--home", str(home)]) == 0
    kept = json.loads(capsys.readouterr()[0])
    assert {each["order_id"] for each in kept} == {entry["order_id"] for entry in refused}
    last = kept[0]["order_id"]
    assert run_cleanly(cli, ["refresh-gate", "override", last, "--reason", "it did", "--home", str(home)]) == 0
    assert TableStore(home / "tables").current() == 2
    loose = run_quietly(log, home, **FLAGS)
    assert loose["run_id"] == strict["run_id"]
    assert (loose["refused"], loose["refreshes"]) == ([], 3)
