from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.finetune_gpu import OPERATIONS_A_WEIGHT, figures_of, gpu_figures, measure_adapter
from bench.refresh_gpu import SHAPES
from refresh.finetune.recipe import FineTuneRecipe
from refresh.training.threads import single_thread


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_figures_say_so(tmp_path: Path) -> None:
    figures = gpu_figures(tmp_path, is_full=True)
    assert [figure.value for figure in figures] == [None, None]
    assert all("no GPU" in figure.conditions for figure in figures)


def test_the_same_arithmetic_runs_on_a_tiny_decoder(tmp_path: Path) -> None:
    recipe = replace(FineTuneRecipe.for_adapter(), batch_size=8, rank=2)
    with single_thread():
        found = measure_adapter(SHAPES["tiny"], tmp_path / "decoder", 2, recipe)
    assert (found["prompts"], found["steps"]) == (16, 2)
    assert found["tokens"] == found["tokens_a_prompt"] * 16 and 40 < found["tokens_a_prompt"] < 400
    n_layers, rank = 2, 2
    assert found["n_trained"] == n_layers * rank * (4 * (64 + 64) + 3 * (64 + 128))
    rate, *_ = figures_of(SHAPES["tiny"], found)
    assert rate.value == pytest.approx(found["tokens"] / found["seconds"])


def test_the_share_of_the_peak_is_of_what_cannot_be_left_out() -> None:
    shape = SHAPES["1.7B"]
    found: dict[str, Any] = {
        "device": "H200",
        "torch": "2",
        "dtype": "bfloat16",
        "rank": 16,
        "n_trained": 1,
        "batch": 256,
        "steps": 20,
        "prompts": 5_120,
        "tokens": 400_000,
        "tokens_a_prompt": 78.1,
        "seconds": 10.0,
        "peak": 989e12,
        "memory_gib": 40.0,
    }
    _, share, memory = figures_of(shape, found)
    needed = OPERATIONS_A_WEIGHT * (400_000 * shape.n_layer_weights + 5_120 * shape.n_head_weights)
    assert share.value == pytest.approx(needed / 10.0 / 989e12)
    assert memory.value == 40.0
    assert figures_of(shape, found | {"peak": None})[1].value is None
