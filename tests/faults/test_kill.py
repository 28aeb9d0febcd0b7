"""A run killed at any point and started again ends as one that was never killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.faults.killable import run_in_process
from tests.runs import SYNTHETIC, Result, assert_same_run, read_result, run_quietly, small_log

FLAGS = {**SYNTHETIC, "checkpoint_records": 4_000}
N_KILLS = 20


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_log(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def undisturbed(log: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Result]:
    folder = tmp_path_factory.mktemp("undisturbed")
    # Where kernels were never compiled, the compiler's calls would be counted one by one, for minutes.
    run_quietly(log, folder / "compiled", **FLAGS)
    finished = run_in_process(log, folder / "home", folder / "answer", FLAGS, is_counted=True)
    assert finished is not None
    n_calls, summary = finished
    assert summary["transitions"] > 5_000
    assert summary["windows"] >= 3
    assert summary["llm_calls"] > 0
    expected = read_result(summary, folder / "home")
    assert all(pane["memory"]["pairs"] for pane in expected.remembered[1:])
    assert any(pane["policy_state"]["expected_hits"] > 0 for pane in expected.remembered if pane["policy_state"])
    return n_calls, expected


def assert_same(result: Result, expected: Result) -> None:
    assert_same_run(result, expected)
    same = {key: value for key, value in expected.summary.items() if key not in ("issues", "model")}
    assert {key: result.summary[key] for key in same} == same


@pytest.mark.parametrize("trial", range(N_KILLS))
def test_a_killed_run_ends_with_the_same_counts_and_decisions(
    trial: int, log: Path, undisturbed: tuple[int, Result], tmp_path: Path
):
    n_calls, expected = undisturbed
    kill_at = int(np.random.default_rng((7, trial)).integers(1, n_calls))
    assert run_in_process(log, tmp_path / "home", tmp_path / "answer", FLAGS, kill_at=kill_at) is None
    finished = run_in_process(log, tmp_path / "home", tmp_path / "answer", FLAGS)
    assert finished is not None
    assert_same(read_result(finished[1], tmp_path / "home"), expected)


def test_a_run_killed_again_and_again_ends_the_same(log: Path, undisturbed: tuple[int, Result], tmp_path: Path):
    n_calls, expected = undisturbed
    for kill_at in np.linspace(n_calls // 8, n_calls // 3, 6).astype(int):
        run_in_process(log, tmp_path / "home", tmp_path / "answer", FLAGS, kill_at=int(kill_at))
    finished = run_in_process(log, tmp_path / "home", tmp_path / "answer", FLAGS)
    assert finished is not None
    assert_same(read_result(finished[1], tmp_path / "home"), expected)
