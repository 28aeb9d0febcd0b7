"""Planted: weights, of models and adapters, that are no weights or not those of this base."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from refresh.engines.model_files import WEIGHTS
from refresh.finetune.gates import Trial
from tests.refresh.finetune.gate_bench import Bench, resealed, retensored
from tests.refresh.finetune.planting import Plant, Planted


def _with_tensors(change: Callable[[dict[str, Any]], None]) -> Plant:
    def plant(bench: Bench, folder: Path) -> Trial:
        return bench.trial(retensored(bench.copy(folder / "candidate"), change))

    return plant


def _set(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        tensors[name].view(-1)[7] = value

    return change


def _zero(tensors: dict[str, Any]) -> None:
    for tensor in tensors.values():
        tensor.zero_()


def _double(tensors: dict[str, Any]) -> None:
    import torch

    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.float64)


def _narrow(tensors: dict[str, Any]) -> None:
    tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"][:, :32]


def _without(tensors: dict[str, Any]) -> None:
    del tensors["model.layers.1.mlp.down_proj.weight"]


def _with_foreign(tensors: dict[str, Any]) -> None:
    tensors["model.layers.7.mlp.down_proj.weight"] = tensors["model.layers.1.mlp.down_proj.weight"].clone()


def _pickled_weights(bench: Bench, folder: Path) -> Trial:
    copy = bench.copy(folder / "candidate")
    (copy / WEIGHTS).write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.")
    return bench.trial(resealed(copy))


def _untaught(bench: Bench, folder: Path) -> Trial:
    copy = bench.copy(folder / "candidate")
    shutil.copy(bench.base / WEIGHTS, copy / WEIGHTS)
    return bench.trial(resealed(copy))


def _with_factors(change: Callable[[dict[str, Any]], object], rank: int = 2) -> Plant:
    def plant(bench: Bench, folder: Path) -> Trial:
        return bench.trial(bench.adapter(folder / "candidate", change, rank))

    return plant


_UP = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
_DOWN = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def _wide(tensors: dict[str, Any]) -> None:
    import torch

    tensors[_DOWN] = torch.cat([tensors[_DOWN], tensors[_DOWN]], dim=1)


def _elsewhere(tensors: dict[str, Any]) -> None:
    for side in "AB":
        name = f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight"
        tensors[name.replace("layers.0", "layers.40")] = tensors.pop(name)


def _with_bias(tensors: dict[str, Any]) -> None:
    tensors["base_model.model.model.layers.0.self_attn.q_proj.bias"] = tensors[_UP][:, 0].clone()


def _zero_products(tensors: dict[str, Any]) -> None:
    for name, tensor in tensors.items():
        if ".lora_B." in name:
            tensor.zero_()


WEIGHT_FILES: dict[str, Planted] = {
    "NaN in the weights": Planted(
        _with_tensors(_set("model.embed_tokens.weight", float("nan"))), "weights", "are not numbers"
    ),
    "Inf in the weights": Planted(_with_tensors(_set("model.norm.weight", float("inf"))), "weights", "are infinite"),
    "zero weights": Planted(_with_tensors(_zero), "weights", "is all zero"),
    "wrong dtype": Planted(_with_tensors(_double), "weights", "float64, not float32"),
    "wrong shape": Planted(_with_tensors(_narrow), "weights", "in the base"),
    "a tensor missing": Planted(_with_tensors(_without), "weights", "is missing"),
    "a tensor too many": Planted(_with_tensors(_with_foreign), "weights", "is in no base"),
    "a pickle named safetensors": Planted(_pickled_weights, "weights", "SafetensorError"),
    "nothing learnt": Planted(_untaught, "weights", "nothing was learnt"),
    "an adapter of another rank than it says": Planted(_with_factors(lambda _: None, rank=3), "weights", "the rank"),
    "an adapter for wider matrices": Planted(_with_factors(_wide), "weights", "fits the rank and the base"),
    "an adapter for layers that are not there": Planted(_with_factors(_elsewhere), "weights", "does not have"),
    "an adapter that changes nothing": Planted(_with_factors(_zero_products), "weights", "nothing was learnt"),
    "half an adapter": Planted(_with_factors(lambda tensors: tensors.pop(_UP)), "weights", "has one factor only"),
    "an adapter with a bias": Planted(_with_factors(_with_bias), "weights", "is no factor of an adapter"),
    "NaN in an adapter": Planted(_with_factors(_set(_UP, float("nan"))), "weights", "are not numbers"),
}
