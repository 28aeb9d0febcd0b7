"""``tidegate backtest`` gives what runs give, the same bytes each time, and says what is wrong with a request."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from refresh import training
from tests.refresh.conftest import TINY_BUDGET
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli.backtest import DEFAULT_POLICIES, backtest, policy_names
from tidegate.cli.errors import run_cleanly
from tidegate.cli.main import cli
from tidegate.cli.watching import Bars
from tidegate.config import load_settings
from tidegate.errors import RequestError

REAL = {"positive": "engagement >= 0.5", "pane": "1d", "window": "3d", "gap": "1d", "engine": "frequency"}
NAMES = [
    "hit_rate_next", "hit_rate_sequence", "llm_calls", "first_table_calls", "incremental_calls", "refreshes", "cost",
    "regret", "hit_information_bits", "entropy_bits", "by_pane",
]  # fmt: skip
OF_A_RUN = [
    "scored", "hit_rate_next", "hit_rate_sequence", "hit_information_bits", "coverage", "llm_calls",
    "first_table_calls", "incremental_calls", "refreshes",
]  # fmt: skip
OF_ITS_PANES = ["scored", "hits_next", "hits_sequence", "hit_bits", "trigger", "reasons", "llm_calls", "rows_changed"]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_log(tmp_path_factory.mktemp("log"), sessions=400)


def backtest_quietly(source: Path, home: Path, names: list[str], **flags: Any) -> dict[str, Any]:
    settings = load_settings({"source": str(source), "home": home, **flags})
    with Bars(Console(quiet=True)) as bars:
        return backtest(settings, names, bars)


def assert_as_in_runs(source: Path, home: Path, names: list[str], **flags: Any) -> None:
    compared = backtest_quietly(source, home / "backtest", names, **flags)
    for name in names:
        ran, found = (
            run_quietly(source, home / name.replace(":", "-"), policy=name, **flags),
            compared["policies"][name],
        )
        assert {key: found[key] for key in OF_A_RUN} == {key: ran[key] for key in OF_A_RUN}, name
        assert compared["transitions"] == ran["transitions"]
        assert compared["outcomes"] == ran["outcomes"]
        panes = {pane["pane_end"]: {key: pane[key] for key in OF_ITS_PANES} for pane in ran["by_pane"]}
        assert len(found["by_pane"]) == compared["panes"] - 3
        for pane in found["by_pane"]:
            assert {key: pane[key] for key in OF_ITS_PANES} == panes[pane["pane_end"]], (name, pane["pane_end"])


def test_hits_and_calls_are_those_of_runs(log: Path, tmp_path: Path):
    assert_as_in_runs(log, tmp_path, ["adaptive", "never", "every:2", "always"], **SYNTHETIC)


def test_bounds_and_rows_of_c2_that_cost_calls_are_those_of_runs(log: Path, tmp_path: Path):
    bounded = {**SYNTHETIC, "max_calls": 9, "max_calls_per_day": 5, "backoff": "engine", "min_support": 10**6}
    assert_as_in_runs(log, tmp_path, ["adaptive"], **bounded)


def test_hits_and_calls_are_those_of_runs_over_a_real_log(real_logs: Path, tmp_path: Path):
    """Nothing is compared with a reference, for that costs the most and is tested elsewhere."""
    source = real_logs / "kuairand_pure" / "events.csv.gz"
    assert_as_in_runs(source, tmp_path, ["adaptive", "never", "every:2", "always"], **REAL, min_support=10**6)


def test_the_embedded_engine_is_trained_and_asked_as_in_a_run(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training, "train_model", partial(training.train_model, budget=TINY_BUDGET))
    flags = {**SYNTHETIC, "engine": "embedded", "min_support": 10**6}
    log = small_log(tmp_path, days=6, sessions=200)
    ran = run_quietly(log, tmp_path / "run", policy="adaptive", **flags)
    compared = backtest_quietly(log, tmp_path / "backtest", ["adaptive", "oracle"], **flags)
    assert ran["llm_calls"] > 0
    found = compared["policies"]["adaptive"]
    assert {key: found[key] for key in OF_A_RUN} == {key: ran[key] for key in OF_A_RUN}
    assert compared["policies"]["oracle"]["cost"] <= found["cost"]


def test_the_command_writes_the_documented_names_and_the_same_bytes_each_time(log: Path, tmp_path: Path):
    flags = [text for name, value in SYNTHETIC.items() for text in (f"--{name}", value)]
    written = []
    for number in range(2):
        out, page = tmp_path / f"{number}.json", tmp_path / f"{number}.html"
        arguments = ["--source", str(log), "--home", str(tmp_path / f"home {number}"), *flags]
        chosen = ["--policies", "never,adaptive,oracle", "--json", str(out), "--html", str(page)]
        assert run_cleanly(cli, ["backtest", *arguments, *chosen]) == 0
        written.append((out.read_bytes(), page.read_bytes()))
    assert written[0] == written[1]
    summary = msgspec.json.decode(written[0][0])
    assert list(summary["policies"]) == ["never", "adaptive", "oracle"]
    assert all(set(figures) >= set(NAMES) for figures in summary["policies"].values())
    assert summary["windows"] == len(summary["drift"]) == 9 - 2 * 3 + 1
    assert all(figures["regret"] >= 0 for figures in summary["policies"].values())
    assert summary["policies"]["oracle"]["regret"] == 0


def test_every_default_policy_can_be_compared_and_none_regrets_without_the_oracle(log: Path, tmp_path: Path):
    names = policy_names(DEFAULT_POLICIES)
    compared = backtest_quietly(log, tmp_path, [name for name in names if name != "oracle"], **SYNTHETIC)
    assert [figures["regret"] for figures in compared["policies"].values()] == [None] * (len(names) - 1)


def test_windows_are_only_measured_for_who_looks_at_them(log: Path, tmp_path: Path):
    compared = backtest_quietly(log, tmp_path, ["never", "oracle"], **SYNTHETIC)
    assert (compared["windows"], compared["drift"]) == (0, [])


@pytest.mark.parametrize("text", ["", " , ", "never,never", "never, adaptive,never"])
def test_no_policy_or_one_named_twice_is_refused(text: str):
    with pytest.raises(RequestError, match=r"no policy is named|a policy is named twice") as refused:
        policy_names(text)
    assert (refused.value.place, refused.value.exit_code) == ("--policies", 2)
    assert "each once" in refused.value.mend


def refused_by_the_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_cleanly(cli, ["backtest", *arguments]) == 2
    return capsys.readouterr().err


def test_an_unknown_policy_is_refused_before_the_log_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    absent = ("--source", str(tmp_path / "absent.csv"))
    assert "there is no policy 'sometimes'" in refused_by_the_command(capsys, *absent, "--policies", "never,sometimes")
    assert "named twice" in refused_by_the_command(capsys, *absent, "--policies", "never,never")


def test_a_log_that_is_too_short_or_empty_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "short.csv"
    rows = "".join(f"1,{name},{day * 86_400 + at}\n" for day in range(3) for at, name in enumerate("abc"))
    path.write_text("user_id,category,timestamp\n" + rows)
    arguments = ("--source", str(path), "--engine", "frequency", "--policies", "never")
    assert "the log has 3 panes, and the first window takes 3" in refused_by_the_command(capsys, *arguments)
    for content, flags, found in (
        ("user_id,category,timestamp\n", (), "the file holds no record"),
        ("user_id,category,timestamp,x\n1,a,0,1\n", ("--positive", "x > 1"), "no positive watch at all"),
    ):
        path.write_text(content)
        assert run_cleanly(cli, ["backtest", *arguments, *flags]) == 1
        assert found in capsys.readouterr().err


def test_files_that_could_not_be_written_are_refused_before_the_work(log: Path, tmp_path: Path, capsys: Any):
    nowhere = str(tmp_path / "absent" / "out.json")
    error = refused_by_the_command(capsys, "--source", str(log), "--engine", "frequency", "--json", nowhere)
    assert "--json" in error
