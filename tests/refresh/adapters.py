"""Adapters with random factors, in the files that peft writes: nothing is taught, but answers change."""

from __future__ import annotations

import json
from pathlib import Path

from refresh.engines.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from refresh.engines.model_files import read_model

_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_adapter(folder: Path, base: Path, *, seed: int, rank: int = 4, strength: float = 0.5) -> Path:
    """Write an adapter for a model that we trained; `strength` is the spread of its factors."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for name, matrix in read_model(base).named_parameters():
        module = name.removesuffix(".weight")
        if module.endswith(_MODULES):
            n_out, n_in = matrix.shape
            for letter, shape in (("A", (rank, n_in)), ("B", (n_out, rank))):
                factors[f"base_model.model.{module}.lora_{letter}.weight"] = strength * torch.randn(
                    shape, generator=generator
                )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(factors, folder / ADAPTER_WEIGHTS)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": list(_MODULES),
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config))
    return folder
