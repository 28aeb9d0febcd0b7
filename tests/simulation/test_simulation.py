"""The short form: some schedules hold, every kind of fault occurs in them, every planted mistake is caught."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.runs import FAULTS, Outcome, catch, simulate

N_SEEDS = 40
N_TRIED = 60


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [simulate(seed) for seed in range(N_SEEDS)]


def test_everything_holds_whatever_the_schedule(outcomes: list[Outcome]) -> None:
    failures = [f"seed {each.seed}: {each.failure}" for each in outcomes if each.failure is not None]
    assert not failures, "\n".join(["replay with python -m tests.simulation --seed N --trace", *failures])


@pytest.mark.parametrize("fault", FAULTS)
def test_each_kind_of_fault_occurs(outcomes: list[Outcome], fault: str) -> None:
    assert sum((each.happened for each in outcomes), Counter[str]())[fault] > 0


def test_each_kind_of_record_occurs(outcomes: list[Outcome]) -> None:
    happened = sum((each.happened for each in outcomes), Counter[str]())
    assert all(
        happened[f"{kind} records"] for kind in ("counted", "late", "duplicate", "future", "malformed", "negative")
    )


def test_a_seed_replays_to_the_bit_in_another_process(outcomes: list[Outcome]) -> None:
    seed = next(each.seed for each in outcomes if each.happened["crash"] > 3)
    replay = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", str(seed)],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"digest {outcomes[seed].digest}" in replay.stdout


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_mistake_is_caught(mutant: Mutant) -> None:
    assert catch(mutant, N_TRIED).seed is not None
