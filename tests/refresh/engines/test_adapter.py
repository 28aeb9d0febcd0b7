"""Adapters: told apart by content, added to the base that they fit, refused otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refresh.engines.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, open_adapter
from refresh.engines.embedded import EmbeddedEngine
from tests.refresh.adapters import write_adapter
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import NAMES, random_contexts
from tidegate.errors import EngineError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("models") / "base", NAMES)


def test_an_adapter_is_known_by_its_content_alone(base: Path, tmp_path: Path):
    one, same, other = (
        open_adapter(write_adapter(tmp_path / name, base, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.name == f"a-{one.fingerprint[:12]}"
    assert one.on("x") == same.on("x") != other.on("x")
    assert one.on("x") != one.on("y")


def test_what_is_added_is_the_scaled_product_of_the_factors(base: Path, tmp_path: Path):
    from safetensors.torch import load_file

    adapter = open_adapter(write_adapter(tmp_path / "a", base, seed=1))
    factors = load_file(adapter.folder / ADAPTER_WEIGHTS)
    plain, adapted = (
        dict(EmbeddedEngine(base, NAMES, adapter=each)._model.named_parameters()) for each in (None, adapter)
    )
    for name, matrix in plain.items():
        down = factors.get(f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight")
        if down is None:
            np.testing.assert_array_equal(adapted[name].detach(), matrix.detach())
        else:
            up = factors[f"base_model.model.{name.removesuffix('.weight')}.lora_B.weight"]
            np.testing.assert_allclose(adapted[name].detach(), matrix.detach() + up @ down, rtol=1e-5, atol=1e-5)


def test_an_engine_with_an_adapter_answers_otherwise_and_says_so(base: Path, tmp_path: Path):
    adapter, contexts = open_adapter(write_adapter(tmp_path / "a", base, seed=1)), random_contexts(100)
    plain, adapted = EmbeddedEngine(base, NAMES), EmbeddedEngine(base, NAMES, adapter=adapter)
    assert adapted.fingerprint == adapter.on(plain.fingerprint)
    found = [engine.infer(contexts, top_n=1).clusters[:, 0] for engine in (plain, adapted)]
    assert (found[0] != found[1]).mean() > 0.2


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"peft_type": "IA3"}, "no plain LoRA"),
        ({"r": 0}, "no plain LoRA"),
        ({"bias": "all"}, "no plain LoRA"),
        ({"use_dora": True}, "no plain LoRA"),
        ({"modules_to_save": ["lm_head"]}, "no plain LoRA"),
        ({"rank_pattern": {"q_proj": 2}}, "no plain LoRA"),
        ({"r": "four"}, "cannot be read"),
    ],
)
def test_what_is_no_plain_adapter_is_refused(base: Path, tmp_path: Path, changed: dict[str, Any], found: str):
    path = write_adapter(tmp_path / "a", base, seed=1) / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(EngineError, match=found):
        open_adapter(path.parent)


def test_a_folder_without_an_adapter_is_named(base: Path):
    with pytest.raises(EngineError, match=f"no {ADAPTER_CONFIG}"):
        open_adapter(base)


def test_stabilised_ranks_scale_by_their_root(base: Path, tmp_path: Path):
    path = write_adapter(tmp_path / "a", base, seed=1, rank=4) / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": True, "lora_alpha": 8}))
    assert open_adapter(path.parent).scale == 4.0


def test_an_adapter_of_another_shape_and_one_that_is_torn_are_refused(base: Path, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = write_adapter(tmp_path / "a", base, seed=1)
    factors = load_file(folder / ADAPTER_WEIGHTS)
    name = next(name for name in factors if "lora_A" in name)
    for wrong, found in (
        ({name: factors[name][:, :-1].contiguous()}, "no matrix for"),
        ({name.replace("layers.0", "layers.7"): factors[name].clone()}, "not pairs"),
        ({"base_model.model.lm_head.bias": factors[name].clone()}, "not pairs"),
    ):
        save_file(factors | wrong, folder / ADAPTER_WEIGHTS)
        with pytest.raises(EngineError, match=found):
            EmbeddedEngine(base, NAMES, adapter=open_adapter(folder))
    (folder / ADAPTER_WEIGHTS).write_bytes(b"torn")
    with pytest.raises(EngineError, match="cannot be read"):
        EmbeddedEngine(base, NAMES, adapter=open_adapter(folder))
