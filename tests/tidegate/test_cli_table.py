"""The table commands, as a person and as a script see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from refresh.table_store import TableStore
from tests.tables import BACKOFF, NAMES, PAIRS, publish, small_table
from tidegate.cli.errors import run_cleanly
from tidegate.cli.table import table_group

COMMA_NAMES = ("jazz", "rock, hard", "soul", "jazz,rock", "hard")


class Shell:
    """Runs table commands on one home."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._home, self._capsys = home, capsys
        self.store = TableStore(home / "tables")

    def run(self, *args: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        code = run_cleanly(table_group, [*args, "--home", str(self._home)])
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *args: str) -> Any:
        code, out, err = self.run(*args, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    def corrupt(self, version: int, name: str = "pairs.npy") -> None:
        path = self.store.root / f"v{version:08d}" / name
        path.write_bytes(path.read_bytes()[:-1])


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Two versions: the second drops (3, 1), adds (2, 3), ranks (0, 1) and the backoff of 1 the other way."""
    shell = Shell(tmp_path, capsys)
    publish(shell.store, small_table())
    changed = {(0, 1): (3, 2), (1, 2): (0,), (2, 3): (4,)}
    publish(shell.store, small_table(changed, {**BACKOFF, 1: (0, 2)}), window_end_ms=2_000)
    return shell


def test_list_shows_the_newest_first_and_which_one_serves(shell: Shell) -> None:
    code, out, _ = shell.run("list")
    rows = [line for line in out.splitlines() if "frequency" in line]
    assert code == 0
    assert ["<-" in row for row in rows] == [True, False]
    found = shell.json("list")
    assert [(row["version"], row["serves"], row["manifest"]["rows"]) for row in found] == [(2, True, 3), (1, False, 3)]


def test_list_goes_on_past_a_corrupt_manifest(shell: Shell) -> None:
    shell.corrupt(1, "manifest.json")
    code, out, err = shell.run("list")
    assert (code, "corrupt" in out, err) == (0, True, "tidegate table verify --all says what is corrupt\n")
    assert "manifest.json" in shell.json("list")[1]["error"]


def test_an_empty_home_lists_nothing_and_shows_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path / "empty", capsys)
    assert shell.json("list") == []
    code, _, err = shell.run("show")
    assert (code, err.count("\n")) == (2, 1)
    assert "no table has been published. Run tidegate run first" in err


def test_show_prints_readable_names(shell: Shell) -> None:
    code, out, _ = shell.run("show", "1", "--limit", "1")
    assert code == 0
    assert "jazz" in out
    assert "soul 0.500, folk 0.250" in out
    assert "2 more rows" in out
    found = shell.json("show")
    assert found["manifest"]["version"] == 2
    assert found["rows"][0]["next"] == [{"name": "folk", "probability": 0.5}, {"name": "soul", "probability": 0.25}]


def test_show_one_pair_says_which_level_answers(shell: Shell) -> None:
    assert "folk 0.500, soul 0.250" in shell.run("show", "--pair", "jazz,rock")[1]
    found = shell.json("show", "1", "--pair", "0, rock")
    assert (found["c1"], found["c2"], found["level"], found["context"]) == ("jazz", "rock", "pair", "soul")
    backoff = shell.json("show", "--pair", "jazz,ska")
    assert (backoff["level"], backoff["next"]) == ("backoff", [{"name": "folk", "probability": 0.5}])
    assert shell.json("show", "--pair", "rock,jazz")["level"] == "none"
    assert "none" in shell.run("show", "--pair", "rock,jazz")[1]


def test_a_pair_whose_names_hold_commas_is_found_unless_it_is_ambiguous(shell: Shell) -> None:
    publish(shell.store, small_table(PAIRS, BACKOFF, COMMA_NAMES), window_end_ms=3_000)
    found = shell.json("show", "--pair", "soul,rock, hard")
    assert (found["c1"], found["c2"]) == ("soul", "rock, hard")
    code, _, err = shell.run("show", "--pair", "jazz,rock, hard")
    assert code == 2
    assert "can be read as more than one pair. Write both as ids" in err


def test_a_pair_that_is_none_is_refused(shell: Shell) -> None:
    for text in ("jazz", "jazz,polka", "0,99"):
        code, out, err = shell.run("show", "--pair", text)
        assert (code, out) == (2, "")
        assert f"--pair: {text!r} is no pair of table version 2" in err


def test_diff_shows_old_and_new_in_names(shell: Shell) -> None:
    code, out, _ = shell.run("diff", "1", "2")
    assert code == 0
    assert "1 added, 1 removed, 2 changed; 0 with other probabilities only" in out
    found = shell.json("diff", "1", "2")
    assert (found["added"], found["removed"], found["changed"], found["reweighted"]) == (1, 1, 2, 0)
    rows = [
        (row["change"], row["c1"], row["c2"], [a["name"] for a in row["old"]], [a["name"] for a in row["new"]])
        for row in found["rows"]
    ]
    assert rows == [
        ("added", "soul", "folk", [], ["ska"]),
        ("removed", "folk", "rock", ["ska"], []),
        ("changed", "jazz", "rock", ["soul", "folk"], ["folk", "soul"]),
        ("changed", "*", "rock", ["soul", "jazz"], ["jazz", "soul"]),
    ]
    limited = shell.json("diff", "1", "2", "--limit", "1")["rows"]
    assert [row["c1"] for row in limited] == ["soul", "folk", "jazz"]


def test_diff_reads_over_a_grown_catalogue(shell: Shell) -> None:
    grown = small_table(PAIRS, {**BACKOFF, 5: (0,)}, (*NAMES, "dub"))
    publish(shell.store, grown, window_end_ms=3_000)
    rows = shell.json("diff", "1", "3")["rows"]
    assert [(row["c2"], row["old"]) for row in rows] == [("dub", [])]


def test_verify_says_sound_or_exits_1_with_the_file_on_stderr(shell: Shell) -> None:
    code, out, err = shell.run("verify")
    assert (code, err) == (0, "")
    assert out.startswith("version 2 is sound (")
    shell.corrupt(1)
    code, out, err = shell.run("verify", "1")
    assert (code, out) == (1, "")
    assert "pairs.npy: found" in err
    code, out, err = shell.run("verify", "--all", "--json")
    assert (code, [row["is_sound"] for row in json.loads(out)]) == (1, [False, True])
    assert "pairs.npy" in err


def test_verify_refuses_a_version_together_with_all(shell: Shell) -> None:
    code, _, err = shell.run("verify", "1", "--all")
    assert (code, err) == (2, "Error: verify: version 1 and --all are both given. Give one of them\n")


def test_rollback_goes_to_the_parent_or_where_told_and_records_why(shell: Shell) -> None:
    assert shell.run("rollback", "--reason", "hit rate fell")[:2] == (0, "version 1 serves\n")
    assert shell.json("rollback", "--to", "2", "--reason", "false alarm") == {"version": 2, "reason": "false alarm"}
    assert [move.why for move in shell.store.history()[2:]] == ["hit rate fell", "false alarm"]
    assert shell.store.current() == 2


def test_rollback_to_a_corrupt_or_unknown_version_is_refused(shell: Shell) -> None:
    shell.corrupt(1)
    code, _, err = shell.run("rollback", "--to", "1", "--reason", "x")
    assert (code, "pairs.npy" in err) == (1, True)
    code, _, err = shell.run("rollback", "--to", "9", "--reason", "x")
    assert (code, "there is no version 9" in err) == (2, True)
    assert shell.store.current() == 2


def test_names_cannot_command_the_terminal_or_rich(shell: Shell) -> None:
    publish(shell.store, small_table(names=("jazz\x1b[31m", "[red]rock[/red]", ":soul:", "folk", "ska")), 3_000)
    out = shell.run("show")[1]
    assert "\x1b" not in out
    assert "[red]rock[/red]" in out
    assert ":soul:" in out


def test_home_comes_from_the_environment(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    assert run_cleanly(table_group, ["verify"]) == 0
    assert capsys.readouterr().out.startswith("version 2 is sound")


def test_wrong_usage_is_one_message_and_exit_code_2(shell: Shell) -> None:
    code, out, err = shell.run("rollback")
    assert (code, out) == (2, "")
    assert "Missing option '--reason'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("debug", [False, True])
def test_a_fault_shows_its_traceback_only_when_asked(debug: bool, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def broken() -> None:
        raise ZeroDivisionError("by nothing")

    assert run_cleanly(broken, [], debug=debug) == 1
    err = capsys.readouterr().err
    assert "Error: ZeroDivisionError: by nothing. This is a fault of Tidegate: --debug shows where" in err
    assert ("Traceback" in err) is debug


def test_an_interrupt_is_reported_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def endless() -> None:
        raise KeyboardInterrupt

    assert run_cleanly(endless, []) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."
