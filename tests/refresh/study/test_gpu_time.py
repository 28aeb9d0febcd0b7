from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresh.finetune.fine_tuning import batch_of
from refresh.finetune.recipe import FineTuneRecipe
from refresh.study.gpu_time import GpuRule, Work, rows_of_steps
from tests.refresh.finetune.worlds import small_samples
from tidegate.errors import ConfigError


@given(st.integers(0, 9_999), st.integers(0, 99_999), st.integers(0, 9_999), st.integers(1, 4_000))
def test_seconds_are_operations_over_what_the_gpu_does(asked: int, taught: int, looked: int, tokens: int) -> None:
    rule = GpuRule(parameters=3e9, peak_tflops=200.0, inference_utilisation=0.5, training_utilisation=0.25)
    found = rule.seconds(Work(asked, taught, looked), tokens)
    reading, learning = 2 * 3_000_000_000 * tokens, 6 * 3_000_000_000 * tokens
    assert found.inference == pytest.approx(asked * reading / 100_000_000_000_000)
    expected = taught * learning / 50_000_000_000_000 + looked * reading / 100_000_000_000_000
    assert found.training == pytest.approx(expected)
    assert found.total == pytest.approx(found.inference + found.training)


def test_prompts_of_ones_own_and_measured_rates_stand_in_for_the_rule() -> None:
    work = Work(n_asked=600, n_taught=100, n_looked_at=60)
    longer = GpuRule(prompt_tokens=200).seconds(work, 10)
    assert longer.total == pytest.approx(20 * GpuRule().seconds(work, 10).total)
    measured = GpuRule(rows_per_second=300.0, train_tokens_per_second=500.0).seconds(work, 10)
    assert measured.as_facts == {"inference": 2.0, "training": 2.2, "total": 4.2}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"parameters": 0.0}, "--gpu-parameters: parameters is 0, required is more than 0"),
        ({"peak_tflops": float("nan")}, "--gpu-peak-tflops"),
        ({"inference_utilisation": 1.5}, "--gpu-utilisation-inference.*a share above 0, 1 at most"),
        ({"training_utilisation": 0.0}, "--gpu-utilisation-training"),
        ({"prompt_tokens": -3}, "--gpu-prompt-tokens"),
        ({"rows_per_second": float("inf")}, "--gpu-rows-per-second"),
        ({"train_tokens_per_second": -1.0}, "--gpu-train-tokens-per-second"),
    ],
)
def test_impossible_numbers_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        GpuRule(**wrong)


@pytest.mark.parametrize(("batch_size", "reading_share"), [(128, 0.3), (400, 0.0), (96, 0.5)])
def test_rows_of_steps_are_those_that_training_draws(batch_size: int, reading_share: float) -> None:
    taught = small_samples().taught
    recipe = FineTuneRecipe(batch_size=batch_size, reading_share=reading_share)
    drawn = [len(batch_of(taught, step, recipe, 1, 20)) for step in range(23)]
    assert [rows_of_steps(n, len(taught), recipe) for n in range(24)] == [sum(drawn[:n]) for n in range(24)]


def test_work_adds_up() -> None:
    assert Work(1, 2, 3) + Work(10, 20, 30) == Work(11, 22, 33)
