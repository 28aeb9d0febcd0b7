"""Candidates that were kept aside, as a person sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tidegate.cli.refresh_gate as module
from refresh.gates.aside import Candidates, KeptCandidate
from refresh.table_store import TableStore
from tests.tables import BACKOFF, PAIRS, publish, small_table
from tidegate.cli.errors import run_cleanly
from tidegate.cli.main import cli
from tidegate.clock import ManualClock
from tidegate.contracts import GateVerdict, Trigger
from tidegate.errors import CorruptTableError

GATES = (
    GateVerdict(gate="coverage", found=0.5, required=0.7, is_passed=False, sentence="50.0% are answered"),
    GateVerdict(gate="validity", found=None, required=None, is_passed=True, sentence="not applicable: nothing asked"),
)
CANDIDATE = small_table({**PAIRS, (0, 1): (4,)})
Shell = Callable[..., tuple[int, str, str]]


def keep(home: Path, order: str = "run-7", *, replaces: int | None = 1, table: Any = CANDIDATE) -> int:
    return Candidates(home / "candidates", ManualClock()).keep(
        table,
        order_id=order,
        replaces=replaces,
        gates=GATES,
        window_end_ms=2_000,
        trigger=Trigger.POLICY,
        reasons={"drift": 3},
        engine_name="frequency",
        engine_fingerprint="abc",
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """One version that serves, and a candidate that was to replace it."""
    publish(TableStore(tmp_path / "tables"), small_table())
    keep(tmp_path)
    return tmp_path


@pytest.fixture
def shell(home: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    def run(*args: str) -> tuple[int, str, str]:
        code = run_cleanly(cli, ["refresh-gate", *args, "--home", str(home)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_list_and_show_say_what_failed_and_what_can_be_done(shell: Shell) -> None:
    code, out, _ = shell("list")
    assert code == 0
    for words in ("run-7", "1970-01-01T00:00:02Z", "coverage", "version 1", "can be published"):
        assert words in out
    assert json.loads(shell("list", "--json")[1])[0]["failed"] == ["coverage"]
    code, out, _ = shell("show", "run-7")
    assert code == 0
    for words in ("FAILED", "50.0% are answered", "0.5", "0.7", "passed", "not applicable", "can be published"):
        assert words in out
    assert json.loads(shell("show", "run-7", "--json")[1])["gates"][0]["found"] == 0.5


def test_nothing_is_kept_aside_where_nothing_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cleanly(cli, ["refresh-gate", "list", "--json", "--home", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr()[0]) == []
    assert run_cleanly(cli, ["refresh-gate", "show", "run-7", "--home", str(tmp_path)]) == 2
    assert "no candidate of an order 'run-7' is kept aside. Name one of these: none" in capsys.readouterr()[1]


def test_an_override_serves_the_candidate_with_its_reason_and_is_done_once(home: Path, shell: Shell) -> None:
    tables = TableStore(home / "tables")
    for _ in range(2):
        assert shell("override", "run-7", "--reason", "looked at by hand")[:2] == (0, "version 2 serves\n")
    assert tables.current() == 2
    assert tables.verify(2).content_checksum == CANDIDATE.content_checksum()
    assert [(move.action, move.to_version) for move in tables.history()] == [("publish", 1), ("override", 2)]
    assert tables.history()[-1].why == "gates coverage of order run-7 overridden: looked at by hand"
    listed = json.loads(shell("list", "--json")[1])[0]
    assert (listed["published_as"], listed["why"]) == (2, "looked at by hand")
    assert listed["who"] and listed["published"]
    assert "published as version 2 by" in shell("show", "run-7")[1]
    answer = json.loads(shell("override", "run-7", "--reason", "again", "--json")[1])
    assert (answer["version"], answer["reason"]) == (2, "looked at by hand")


@pytest.mark.parametrize("reason", [(), ("--reason", "  ")])
def test_an_override_without_a_reason_is_refused(home: Path, shell: Shell, reason: tuple[str, ...]) -> None:
    code, _, err = shell("override", "run-7", *reason)
    assert code == 2
    assert "reason" in err
    assert TableStore(home / "tables").current() == 1


def test_an_override_is_refused_once_another_version_serves(home: Path, shell: Shell) -> None:
    tables = TableStore(home / "tables")
    publish(tables, small_table(None, {**BACKOFF, 1: (0, 2)}), window_end_ms=3_000)
    code, _, err = shell("override", "run-7", "--reason", "late")
    assert code == 2
    assert "order run-7: version 2 serves, and the candidate was made to replace version 1" in err
    assert "Let the next refresh decide" in err
    assert tables.current() == 2
    assert "version 2 serves by now" in shell("list")[1]
    tables.rollback(1, why="back")
    assert shell("override", "run-7", "--reason", "now")[0] == 0
    publish(tables, small_table(None, {**BACKOFF, 1: (0, 2)}), window_end_ms=4_000)
    assert "(it was published as version 3 since)" in shell("override", "run-7", "--reason", "again")[2]


def test_an_override_that_was_overtaken_while_it_published_is_refused(
    home: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Candidates.load

    def load_late(self: Candidates, kept: KeptCandidate) -> Any:
        found = load(self, kept)
        monkeypatch.setattr(TableStore, "current", looked_at)
        return found

    current = TableStore.current

    def looked_at(self: TableStore) -> int | None:
        monkeypatch.setattr(TableStore, "current", current)
        seen = current(self)
        publish(self, small_table(None, {**BACKOFF, 1: (0, 2)}), window_end_ms=3_000)
        return seen

    monkeypatch.setattr(Candidates, "load", load_late)
    code, _, err = shell("override", "run-7", "--reason", "late")
    assert code == 2
    assert "version 2 serves, and the table was made to replace version 1" in err
    assert TableStore(home / "tables").current() == 2


def test_an_override_that_died_before_it_was_noted_is_noted_when_it_is_done_again(home: Path, shell: Shell) -> None:
    candidates, tables = Candidates(home / "candidates"), TableStore(home / "tables")
    kept = candidates.of_order("run-7")
    assert module.publish_candidate(candidates, tables, "run-7", "first", 1) == 2
    candidates._write(kept)  # as if the note had not been written
    assert shell("override", "run-7", "--reason", "second")[0] == 0
    assert (candidates.of_order("run-7").published_as, len(tables.history())) == (2, 2)


def test_the_first_table_of_a_run_can_be_let_through(tmp_path: Path) -> None:
    keep(tmp_path, replaces=None)
    candidates, tables = Candidates(tmp_path / "candidates"), TableStore(tmp_path / "tables")
    assert module.publish_candidate(candidates, tables, "run-7", "there is no other", 1) == 1
    assert tables.current() == 1


def test_a_corrupt_candidate_is_refused_and_what_serves_stays(home: Path, shell: Shell) -> None:
    path = home / "candidates" / "v00000001" / "pairs.npy"
    path.write_bytes(path.read_bytes()[:-1])
    code, _, err = shell("override", "run-7", "--reason", "hurry")
    assert code == 1
    assert "pairs.npy" in err
    assert "It cannot be published; the next order is made and judged anew" in err
    assert TableStore(home / "tables").current() == 1


def test_another_table_in_a_candidates_place_is_refused(home: Path) -> None:
    candidates = Candidates(home / "candidates")
    other = TableStore(home / "other")
    publish(other, small_table({(0, 1): (3,)}))
    for path in (home / "candidates" / "v00000001").iterdir():
        path.unlink()
    for path in (home / "other" / "v00000001").iterdir():
        (home / "candidates" / "v00000001" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CorruptTableError, match="was kept"):
        candidates.load(candidates.of_order("run-7"))


def test_what_is_known_of_a_candidate_must_be_readable(home: Path, shell: Shell) -> None:
    (home / "candidates" / "v00000001.json").write_text("{")
    code, _, err = shell("list")
    assert code == 1
    assert "v00000001.json: what is known of the candidate cannot be read" in err


def test_a_candidate_is_kept_once_and_only_the_newest_are_kept(home: Path) -> None:
    assert keep(home) == 1
    numbers = [keep(home, f"run-{n}", table=small_table({(0, 1): (2, n % 2 + 3)})) for n in range(8, 16)]
    assert numbers == list(range(2, 10))
    kept = Candidates(home / "candidates").all()
    assert [each.number for each in kept] == [9, 8, 7, 6, 5]
    assert sorted(path.name for path in (home / "candidates").glob("v*.json")) == [
        f"v{n:08d}.json" for n in range(5, 10)
    ]
