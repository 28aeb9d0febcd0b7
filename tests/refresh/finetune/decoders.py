"""Tiny decoders that Tidegate did not train: words for tokens, with the codes among them or without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from refresh.engines.model_files import END, MANIFEST, PADDING, UNKNOWN
from refresh.template import TEXT_TEMPLATE, Template
from refresh.training.model import ModelShape, new_model
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import NAMES


def write_coded(folder: Path, n_clusters: int = len(NAMES), capacity: int | None = None) -> Path:
    """Write a random Llama whose tokenizer has the codes, without a manifest of ours."""
    names = [f"interest {cluster}" for cluster in range(n_clusters)]
    write_random_model(folder, names, capacity=capacity)
    (folder / MANIFEST).unlink()
    return folder


def write_plain(folder: Path, names: list[str] = NAMES) -> Path:
    """Write a random Llama that knows the words of the text template and of names, and no code."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    split = Whitespace()
    texts = [Template.packaged(TEXT_TEMPLATE).text, *names, '" , none']
    words = dict.fromkeys(word for text in texts for word, _ in split.pre_tokenize_str(text))
    vocabulary = {word: token for token, word in enumerate([UNKNOWN, PADDING, END, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    model = new_model(len(vocabulary), ModelShape(positions=256), seed=1)
    model.config.architectures = ["LlamaForCausalLM"]
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def copied(source: Path, folder: Path) -> Path:
    """Copy a model's folder."""
    shutil.copytree(source, folder)
    return folder
