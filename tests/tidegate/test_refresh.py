"""A refresh by hand, as a person gives it: over a log, over a run, estimated, interrupted, shared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refresh.bulk import shards as shards_module
from refresh.engines.frequency import FrequencyEngine
from refresh.table_store import TableStore
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli.errors import run_cleanly
from tidegate.cli.main import cli
from tidegate.clock import SystemClock
from tidegate.config import load_settings
from tidegate.contracts import Trigger
from tidegate.errors import EngineError, TableError

FLAGS = ("--positive", "engagement >= 0.5", "--gap", "30m")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About a thousand pairs in the last window."""
    return small_log(tmp_path_factory.mktemp("logs"), days=5, sessions=500)


class Shell:
    """Gives `tidegate refresh` on one home."""

    def __init__(self, log: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.log, self.home, self._capsys = log, home, capsys
        self.tables = TableStore(home / "tables")

    def run(self, *args: str, engine: str = "frequency") -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        flags = ("--source", str(self.log), "--home", str(self.home), "--engine", engine, *FLAGS)
        code = run_cleanly(cli, ["refresh", *flags, *args])
        out, err = self._capsys.readouterr()
        return code, out, err

    def report(self, *args: str, engine: str = "frequency", code: int = 0) -> dict[str, Any]:
        """What `--json` holds."""
        path = self.log.parent / "report.json"
        found, _, err = self.run(*args, "--json", str(path), engine=engine)
        assert found == code, err
        return json.loads(path.read_bytes())

    def refuses(self, *args: str, engine: str = "frequency") -> str:
        """What a wrong request is answered with."""
        code, _, err = self.run(*args, engine=engine)
        assert code == 2
        return err


@pytest.fixture
def shell(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(log, tmp_path / "home", capsys)


# --- over a log ----------------------------------------------------------------------------------------------------


def test_all_pairs_of_the_last_window_are_refreshed_and_published(shell: Shell) -> None:
    report = shell.report()
    table, manifest = shell.tables.load(), shell.tables.manifest(1)
    assert (report["table_version"], report["is_published"], report["is_of_run"]) == (1, True, False)
    assert report["llm_calls"] == report["rows"] == table.n_rows > 500
    assert manifest.trigger is Trigger.OPERATOR
    assert (report["window_end"], report["run_id"]) == (
        "2024-01-06T00:00:00Z",
        next((shell.home / "rows").iterdir()).name,
    )


def test_a_refresh_that_changes_nothing_makes_no_call_and_no_version(shell: Shell) -> None:
    first = shell.report()
    again = shell.report()
    assert (again["llm_calls"], again["rows_known"], again["rows_changed"]) == (0, first["rows"], 0)
    assert (again["table_version"], again["is_published"]) == (1, False)


def test_a_selective_refresh_asks_for_what_the_policy_would_buy(shell: Shell) -> None:
    every, some = shell.report("--dry-run"), shell.report("--dry-run", "--rows", "ordered", "--price", "2")
    assert 0 < some["rows"] < 0.8 * every["rows"]
    report = shell.report("--rows", "ordered", "--price", "2")
    assert report["llm_calls"] == some["llm_calls"] == shell.tables.load().n_rows


def test_the_papers_frame_comes_with_the_papers_policies(shell: Shell) -> None:
    report = shell.report("--policy", "always")
    assert shell.tables.load().n_backoff_rows == 0
    assert report["llm_calls"] == report["rows"]
    assert shell.report("--policy", "always")["llm_calls"] == 0  # a person pays once, in this frame too


def test_a_log_that_is_shorter_than_a_window_is_refused(shell: Shell) -> None:
    assert "no window is complete: 5 of 9 panes are closed" in shell.refuses("--window", "9d")


def test_an_engine_that_there_is_none_of_is_refused_before_the_log_is_read(shell: Shell) -> None:
    assert "there is no engine 'oracle'" in shell.refuses(engine="oracle")


# --- dry runs ------------------------------------------------------------------------------------------------------


def everything(home: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_dry_run_writes_nothing_and_says_what_it_would_take(shell: Shell) -> None:
    found = shell.report("--dry-run", "--chunk-rows", "100", "--price-per-million-tokens", "2")
    assert not shell.home.exists()
    n = found["llm_calls"]
    assert (found["rows"], found["rows_known"], found["chunks"]) == (n, 0, -(-n // 100))
    assert found["prompt_tokens"] == 13 * n
    assert found["cost"] == pytest.approx(14 * n * 2 / 1e6)
    assert found["seconds"] == pytest.approx(n / found["rows_per_second"])


def test_a_dry_run_over_a_home_leaves_every_byte_as_it_is(shell: Shell) -> None:
    shell.report("--rows", "ordered", "--price", "2")
    before = everything(shell.home)
    found = shell.report("--dry-run", "--price", "2")
    assert everything(shell.home) == before
    assert 0 < found["rows_known"] < found["rows"]
    assert found["llm_calls"] == found["rows"] - found["rows_known"]


def test_a_dry_run_with_a_rate_asks_for_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(FrequencyEngine, "infer", refuse)
    found = shell.report("--dry-run", "--rate", "50")
    assert (found["seconds"], found["probe_rows"]) == (found["llm_calls"] / 50, 0)
    assert shell.report("--dry-run", "--probe", "0")["seconds"] is None


def test_a_dry_run_without_a_model_says_that_one_would_be_trained(shell: Shell) -> None:
    code, out, _ = shell.run("--dry-run", "--rate", "100", engine="embedded")
    assert code == 0
    assert "there is no model yet" in out
    assert not shell.home.exists()


def test_the_terminal_shows_estimate_and_report(shell: Shell) -> None:
    _, estimate, _ = shell.run("--dry-run", "--price-per-million-tokens", "1")
    _, report, err = shell.run()
    for words in ("prompt tokens", "rows/s, measured on", "cost"):
        assert words in estimate
    for words in ("1 (published)", "rows changed", "invalid outputs", "rows/s"):
        assert words in report
    assert err == ""  # no bar where there is no terminal


def test_a_gate_that_fails_keeps_what_serves_and_exits_with_1(shell: Shell) -> None:
    served = shell.report("--rows", "ordered", "--price", "2")["table_version"]
    code, out, _ = shell.run("--price", "2", "--max-changed-full", "0")
    failed = shell.report("--price", "2", "--max-changed-full", "0", code=1)
    assert (failed["outcome"], failed["is_published"], shell.tables.current()) == ("gate_failed", False, served)
    assert code == 1
    assert "FAILED" in out


# --- over a run ----------------------------------------------------------------------------------------------------


def test_a_run_that_counted_the_source_is_refreshed_whoever_infers(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run_quietly(shell.log, shell.home, **SYNTHETIC | {"price": 5.0})
    served = shell.tables.load(ran["table_version"])
    found = shell.report("--price", "5")
    assert (found["run_id"], found["is_of_run"]) == (ran["run_id"], True)
    assert found["table_version_before"] == ran["table_version"]
    table = shell.tables.load()
    assert np.isin(served.pairs, table.pairs).all()
    assert 0 < found["rows_known"] < found["rows"]
    other = shell.report("--price", "7", "--dry-run")  # another policy's flags: still the only run of these counts
    assert other["run_id"] == ran["run_id"]


def test_of_several_runs_one_has_to_be_named(shell: Shell) -> None:
    ids = [run_quietly(shell.log, shell.home, **SYNTHETIC | {"price": price})["run_id"] for price in (1.0, 2.0)]
    assert shell.report("--dry-run", "--price", "2")["run_id"] == ids[1]  # all flags are the same
    assert "2 runs have counted this source" in shell.refuses("--price", "3")
    assert shell.report("--dry-run", "--price", "3", "--run", ids[0])["run_id"] == ids[0]
    assert "there is none of that name" in shell.refuses("--run", "abc")
    assert "counts otherwise" in shell.refuses("--run", ids[0], "--window", "2d")


def test_a_run_by_name_in_a_home_without_runs_is_refused(shell: Shell) -> None:
    assert "there is no run abc" in shell.refuses("--run", "abc")


def test_the_run_goes_on_from_what_a_person_refreshed(shell: Shell) -> None:
    from tidegate.cli.records import PaneRecord
    from tidegate.cli.scoring import serving_version

    ran = run_quietly(shell.log, shell.home, **SYNTHETIC | {"price": 5.0})
    record = PaneRecord(pane=0, window_end_ms=0, table_version=ran["table_version"])
    assert serving_version(shell.tables, record) == ran["table_version"]
    found = shell.report("--price", "5")
    assert serving_version(shell.tables, record) == found["table_version"] > ran["table_version"]


# --- interrupted and shared ----------------------------------------------------------------------------------------


def fail_at(monkeypatch: pytest.MonkeyPatch, call: int) -> list[int]:
    """Let the engine fail at a call; returns a list that grows by the rows asked for."""
    infer, asked = FrequencyEngine.infer, list[int]()

    def failing(self: FrequencyEngine, contexts: Any, **how: Any) -> Any:
        if len(asked) == call:
            raise EngineError("the server is gone", "Start it")
        asked.append(len(contexts))
        return infer(self, contexts, **how)

    monkeypatch.setattr(FrequencyEngine, "infer", failing)
    return asked


def test_an_interrupted_refresh_goes_on_and_publishes_the_same(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = fail_at(monkeypatch, 3)
    code, _, err = shell.run("--chunk-rows", "100")
    assert (code, shell.tables.current()) == (1, None)
    assert "the server is gone" in err
    assert asked == [100, 100, 100]
    monkeypatch.undo()
    waiting = shell.report("--dry-run", "--chunk-rows", "100")
    report = shell.report("--chunk-rows", "100")
    assert waiting["llm_calls"] == report["rows"] - 300
    assert report["chunks_resumed"] == waiting["chunks_finished"] == 3
    assert report["chunks_inferred"] == report["chunks"] - 3
    whole = Shell(shell.log, tmp_path / "whole", shell._capsys)
    whole.report()
    assert shell.tables.load().content_checksum() == whole.tables.load().content_checksum()


def test_an_interrupted_refresh_is_not_resumed_with_other_flags(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, 3)
    assert shell.run("--chunk-rows", "100")[0] == 1
    monkeypatch.undo()
    assert "--chunk-rows was 100, now 90" in shell.refuses("--chunk-rows", "90")
    assert shell.tables.current() is None
    report = shell.report("--chunk-rows", "90", "--restart")
    assert report["chunks_resumed"] == 0


def test_a_full_disk_publishes_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    served = shell.report("--rows", "ordered", "--price", "2")["table_version"]

    def is_full(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards_module, "write_once", is_full)
    code, _, err = shell.run("--chunk-rows", "100")
    assert code == 1
    assert "No space left on device. Make room" in err
    assert shell.tables.current() == served


def tidegate(*args: str, **how: Any) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-c", "from tidegate.cli.main import main; main()"]
    return subprocess.Popen([*program, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def test_workers_share_a_refresh_and_kill_9_costs_no_finished_chunk(shell: Shell, tmp_path: Path) -> None:
    flags = ("refresh", "--source", str(shell.log), "--home", str(shell.home), "--engine", "frequency", *FLAGS)
    flags = (*flags, "--chunk-rows", "20", "--workers", "2", "--json", str(tmp_path / "report.json"))
    killed = tidegate(*flags, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(shell.home.rglob("*.shard"))) < 5 and time.monotonic() < deadline and killed.poll() is None:
        time.sleep(0.005)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    finished = {path: path.read_bytes() for path in shell.home.rglob("*.shard")}
    assert len(finished) >= 5
    assert shell.tables.current() is None
    again = tidegate(*flags)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["chunks_resumed"] == len(finished)
    assert {path: path.read_bytes() for path in finished} == finished
    whole = Shell(shell.log, tmp_path / "whole", shell._capsys)
    whole.report()
    assert shell.tables.load().content_checksum() == whole.tables.load().content_checksum()


def test_settings_of_the_order_are_no_part_of_what_a_run_is_known_by() -> None:
    plain = load_settings({"source": "log.csv"})
    assert plain.identity() == load_settings({"source": "log.csv", "chunk_rows": 7}).identity()


def test_workers_that_are_done_at_the_same_time_publish_one_after_the_other(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, turns = TableStore.publish, iter([True, True])

    def publish_in_turn(self: TableStore, *args: Any, **how: Any) -> int:
        if next(turns, False):
            raise TableError("another publish is at work", "Try again")
        return publish(self, *args, **how)

    monkeypatch.setattr(TableStore, "publish", publish_in_turn)
    monkeypatch.setattr(SystemClock, "sleep", lambda *_: None)
    assert shell.report()["table_version"] == 1
    monkeypatch.setattr(TableStore, "publish", lambda *_, **__: (_ for _ in ()).throw(TableError("always", "Wait")))
    code, _, err = shell.run("--policy", "always")
    assert (code, shell.tables.current()) == (1, 1)
    assert "always. Wait" in err
