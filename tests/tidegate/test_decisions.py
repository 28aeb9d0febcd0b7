"""Decisions are listed, shown and made again from what is in the store, as a person and as a script see it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete

from stream.closing import expire_panes
from stream.database import Database
from stream.schema import pane_records
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli.decisions import decisions_group
from tidegate.cli.errors import run_cleanly

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run_of_a_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("decisions")
    run_quietly(small_log(home), home, **SYNTHETIC, window="2d")
    return home


@pytest.fixture
def home(run_of_a_world: Path, tmp_path: Path) -> Path:
    """A copy, for each test to damage."""
    return shutil.copytree(run_of_a_world, tmp_path / "home")


@pytest.fixture
def shell(home: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    def run(*args: str) -> tuple[int, str, str]:
        code = run_cleanly(decisions_group, [*args, "--home", str(home)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_every_decision_of_a_run_is_made_again_the_same(shell: Shell) -> None:
    code, out, err = shell("replay")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert len(lines) == 9 - 2  # of nine days, the first window's first day and the log's last one decide nothing
    assert all("  same  " in line for line in lines)


def test_list_tells_when_what_and_why(shell: Shell) -> None:
    listed = json.loads(shell("list", "--json")[1])
    assert listed[0]["trigger"] == "first_table"
    assert listed[0]["llm_calls"] == listed[0]["rows"] > 0
    assert all(row["explanation"] for row in listed)
    code, out, _ = shell("list")
    assert code == 0
    assert listed[0]["window_end"] in out


def test_show_writes_the_whole_record(shell: Shell) -> None:
    end = json.loads(shell("list", "--json")[1])[0]["window_end"]
    record = json.loads(shell("show", end)[1])
    assert record["decision"]["order"]["rows"]
    assert record["memory"]
    code, _, err = shell("show", "2001-01-01T00:00:00Z")
    assert code == 2
    assert "no pane ends at 2001-01-01T00:00:00Z" in err


def test_a_decision_that_was_tampered_with_is_found(shell: Shell, home: Path) -> None:
    database = Database(home / "runs.db")
    with database.writing() as connection:
        rows = connection.exec_driver_sql("SELECT pane, body FROM pane_records ORDER BY pane").fetchall()
        pane, body = rows[3]
        other = body.replace(b'"rows_bought":', b'"rows_bought":9', 1)
        assert other != body
        connection.exec_driver_sql("UPDATE pane_records SET body = ? WHERE pane = ?", (other, pane))
    database.close()
    code, out, err = shell("replay")
    assert code == 1
    assert sum("different" in line for line in out.splitlines()) == 1
    assert "another decision" in out
    assert "could not be made the same: 1" in err


def test_what_a_decision_rested_on_may_be_gone_and_is_named(shell: Shell, home: Path) -> None:
    database = Database(home / "runs.db")
    with database.reading() as connection:
        run_id, last = connection.exec_driver_sql("SELECT run_id, max(pane) FROM pane_records").one()
    with database.writing() as connection:  # as shared runs have it, which are the ones that drop panes
        connection.exec_driver_sql("UPDATE runs SET first_pane = (SELECT min(pane) FROM pane_records)")
    expire_panes(database, run_id, last - 2)
    database.close()
    code, out, _ = shell("replay")
    assert code == 1
    assert "panes that it looked at were dropped from the store; keep them longer with --retention" in out


def test_a_table_version_that_was_removed_is_named(shell: Shell, home: Path) -> None:
    shutil.rmtree(home / "tables" / "v00000001")
    code, out, _ = shell("replay")
    assert code == 1
    assert "table version 1 was removed; keep more of them with --keep-versions" in out


def test_a_missing_record_is_named(shell: Shell, home: Path) -> None:
    database = Database(home / "runs.db")
    with database.writing() as connection:
        panes = [row.pane for row in connection.execute(pane_records.select().order_by(pane_records.c.pane))]
        connection.execute(delete(pane_records).where(pane_records.c.pane == panes[4]))
    database.close()
    assert "panes that it looked at were dropped" in shell("replay")[1]


def test_runs_that_are_not_there_or_not_named_are_refused(shell: Shell, home: Path, tmp_path: Path) -> None:
    code, _, err = shell("list", "--run", "nobody")
    assert code == 2
    assert "there is no run nobody" in err
    run_quietly(small_log(tmp_path, seed=1), home, **SYNTHETIC, window="2d")
    code, _, err = shell("replay")
    assert code == 2
    assert "there are 2 runs" in err
    shutil.rmtree(home)
    code, _, err = shell("list")
    assert code == 2
    assert "there is no store" in err
