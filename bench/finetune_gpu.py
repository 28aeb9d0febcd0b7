"""An adapter of a decoder of the size that people tune, with random weights, on a GPU: tokens a second, share of peak.

Part of ``python -m bench.finetune``. What is learnt does not matter here, so weights are random; shape, vocabulary and
prompts are as in use: the packaged text template with names and keywords, all of `refresh.finetune.lora`'s arithmetic.
The peak is taken over operations that cannot be left out: forward and back through frozen weights, two each a weight
and token (nothing is accumulated for them), and the head for each prompt's last token.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.processes import measure, python
from bench.refresh_gpu import N_CLUSTERS, N_KEYWORDS, PEAKS, SHAPES, DecoderShape, catalogue, write_decoder
from bench.table import Figure
from refresh.engines.code_model import Asking, read_code_model
from refresh.finetune.lora import LoraLearner, with_adapter
from refresh.finetune.recipe import FineTuneRecipe
from refresh.template import TEXT_TEMPLATE, Template
from refresh.training.samples import Samples
from refresh.training.teach import Course

NAME, SEED = "1.7B", 7
OPERATIONS_A_WEIGHT = 4  # a product and a sum, forward and back
WARM_UP_STEPS, STEPS = 3, 20


def gpu_figures(folder: Path, *, is_full: bool) -> list[Figure]:
    """Measure in a process of its own; without a GPU, say why there are no figures."""
    import torch

    if not torch.cuda.is_available():
        why = "no GPU: there is no CUDA device here; run it on a machine with one"
        return [
            Figure(f"{NAME} decoder, adapter: training", None, "tokens/s", "", why),
            Figure(f"{NAME} decoder, adapter: share of the GPU's peak", None, "share", "", why),
        ]
    n_steps = STEPS if is_full else 5
    found = measure(python("-m", "bench.finetune_gpu", NAME, str(folder / "decoder"), str(n_steps)))
    return figures_of(SHAPES[NAME], json.loads(found.output.strip().splitlines()[-1]))


def figures_of(shape: DecoderShape, found: dict[str, Any]) -> list[Figure]:
    """Make figures of what `measure_adapter` found."""
    of = (
        f"{found['device']}, torch {found['torch']}, {found['dtype']} weights at random, rank {found['rank']}, "
        f"{found['n_trained']:,} weights learn; batches of {found['batch']} prompts of {found['tokens_a_prompt']:.0f} "
        f"tokens ({N_KEYWORDS} keywords a cluster); {found['steps']} steps after {WARM_UP_STEPS} for warmth"
    )
    peak = found["peak"]
    share = None if peak is None else operations(shape, found) / found["seconds"] / peak
    return [
        Figure(f"{shape.name} decoder, adapter: training", found["tokens"] / found["seconds"], "tokens/s", "", of),
        Figure(
            f"{shape.name} decoder, adapter: share of the GPU's peak",
            share,
            "share",
            "",
            "no peak known of this device" if peak is None else f"of {peak / 1e12:.0f} TFLOP/s dense bf16",
        ),
        Figure(f"{shape.name} decoder, adapter: memory", found["memory_gib"], "GiB", "", "the most that was allocated"),
    ]


def operations(shape: DecoderShape, found: dict[str, Any]) -> float:
    """Operations that the steps cannot do without."""
    per_token, per_prompt = shape.n_layer_weights, shape.n_head_weights
    return OPERATIONS_A_WEIGHT * float(found["tokens"] * per_token + found["prompts"] * per_prompt)


def measure_adapter(shape: DecoderShape, folder: Path, n_steps: int, recipe: FineTuneRecipe) -> dict[str, Any]:
    """Teach an adapter of a random decoder so many steps."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    names, keywords = catalogue()
    template = Template.packaged(TEXT_TEMPLATE)
    write_decoder(folder, shape, template, names, keywords)
    asked = read_code_model(folder, names, Asking(template=template, keywords=keywords))
    is_gpu = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if is_gpu else ("cpu", torch.float32)
    with torch.device(device):
        config = AutoConfig.from_pretrained(folder)
        make: Callable[..., Any] = AutoModelForCausalLM.from_config
        model = make(config, dtype=dtype, attn_implementation="sdpa")
    learner = LoraLearner(with_adapter(model, recipe, SEED).to(device), asked, "random", "none")
    course = Course(
        learner, recipe.peak_rate, 1_000, rows_at_once=recipe.rows_at_once or None, max_norm=recipe.max_norm
    )
    batches = [random_samples(recipe.batch_size, step) for step in range(WARM_UP_STEPS + n_steps)]
    for batch in batches[:WARM_UP_STEPS]:
        course.step(batch)
    started = time.perf_counter()
    for batch in batches[WARM_UP_STEPS:]:
        course.step(batch)  # hands its loss over, so the device is done
    seconds = time.perf_counter() - started
    n_tokens = sum(len(prompt) for batch in batches[WARM_UP_STEPS:] for prompt in learner.rendered(batch))
    name = torch.cuda.get_device_name() if is_gpu else "CPU"
    return {
        "device": name,
        "torch": torch.__version__,
        "dtype": learner.dtype,
        "rank": recipe.rank,
        "n_trained": sum(weights.numel() for weights in learner.trained.values()),
        "batch": recipe.batch_size,
        "steps": n_steps,
        "prompts": n_steps * recipe.batch_size,
        "tokens": n_tokens,
        "tokens_a_prompt": n_tokens / (n_steps * recipe.batch_size),
        "seconds": seconds,
        "peak": next((peaks[0] for known, peaks in PEAKS.items() if known in name), None),
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if is_gpu else None,
    }


def random_samples(n: int, seed: int) -> Samples:
    """Draw samples of distinct clusters."""
    generator = np.random.default_rng((SEED, seed))
    drawn = np.stack([generator.permutation(N_CLUSTERS)[:4] for _ in range(n)]).astype(np.int32)
    return Samples(drawn[:, 0], drawn[:, 1], drawn[:, 2:3], drawn[:, 3], np.ones(n, np.float32))


def main() -> None:
    """Measure one decoder; the last line of the output is JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.finetune_gpu", description=__doc__)
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("n_steps", type=int)
    given = parser.parse_args()
    # One part a batch: 256 prompts of the paper's length fill a GPU, and fit into it.
    recipe = FineTuneRecipe(batch_size=256, rows_at_once=0, max_norm=1.0, peak_rate=2e-4, rank=16, alpha=32)
    print(json.dumps(measure_adapter(SHAPES[given.shape], given.folder, given.n_steps, recipe)))


if __name__ == "__main__":
    main()
