"""Orders are killed with SIGKILL at random calls, alone and in company, and come out as undisturbed ones do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.refresh.bulk.engines import CountingEngine
from tests.refresh.bulk.killable import ROWS, hash_of


@pytest.mark.parametrize(("n_workers", "seed"), [(1, 1), (1, 2), (2, 3)])
def test_a_killed_order_comes_out_as_an_undisturbed_one_and_asks_nothing_finished_again(
    tmp_path: Path, n_workers: int, seed: int
) -> None:
    command = [sys.executable, "-m", "tests.refresh.bulk.killable", str(tmp_path), str(seed), str(n_workers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["killed"] >= 4
    assert found["finished_asked_again"] == 0
    answers = CountingEngine().infer(ROWS, top_n=2)
    assert set(found["digests"]) == {hash_of(answers.clusters, answers.probabilities)}
