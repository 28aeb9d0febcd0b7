"""A decoder made ready for adapters: the codes of a catalogue become tokens of it.

An adapter leaves embeddings alone (vLLM serves none that changes them), so codes have theirs before it is trained. Each
begins as the mean of the tokens that its clusters' names are made of, plus a little that tells equal names apart: where
it stands already says something of what it means, and what the adapter adds is how to move between them.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refresh.codebook import Codebook
from refresh.engines.model_files import TOKENIZER, require_new
from refresh.finetune.lora import load_decoder
from tidegate.errors import EngineError
from tidegate.files import flush_folder

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

_NOISE = 0.3  # of an embedding's usual spread
_KEPT = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "chat_template.jinja")


def write_coded_base(
    source: Path, names: Sequence[str], folder: Path, *, keywords: Mapping[str, str] | None = None, seed: int = 0
) -> None:
    """Write a copy of a decoder whose tokenizer has the codes of a catalogue, spare ones included.

    Parameters
    ----------
    source : Path      a causal decoder in Hugging Face format, weights as .safetensors; not changed
    names : the catalogue by id
    folder : Path      must not exist yet; written whole or not at all
    keywords : by cluster name, as prompts say them

    Raises
    ------
    EngineError
        If the decoder cannot be loaded, has codes already, or `folder` exists.
    CatalogueError
        If there are more clusters than codes can be made for.
    """
    from tokenizers import Tokenizer

    require_new(folder)
    codebook = Codebook.of(names)
    model = load_decoder(source)
    tokenizer = Tokenizer.from_file(str(source / TOKENIZER))
    codes = [code for level in codebook.levels for code in level]
    if any(tokenizer.token_to_id(code) is not None for code in codes):
        raise EngineError(
            f"The tokenizer has the code {codes[0]} already, or others of it",
            "Fine-tune this model as it is, or begin from the one without codes",
            place=str(source / TOKENIZER),
        )
    said = [f"{name} {(keywords or {}).get(name, '')}".strip() for name in names]
    meanings = _meanings(tokenizer, codebook, said)
    tokenizer.add_special_tokens(codes)
    vocabulary = tokenizer.get_vocab()
    _embed(model, [vocabulary[code] for code in codes], meanings, len(vocabulary), seed)
    sibling = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    sibling.mkdir(parents=True)
    try:
        model.save_pretrained(sibling, safe_serialization=True)
        tokenizer.save(str(sibling / TOKENIZER))
        for name in _KEPT:
            if (source / name).is_file() and not (sibling / name).exists():
                shutil.copyfile(source / name, sibling / name)
        for path in sibling.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sibling.rename(folder)
        flush_folder(folder.parent)
    finally:
        shutil.rmtree(sibling, ignore_errors=True)


def _meanings(tokenizer: Tokenizer, codebook: Codebook, said: Sequence[str]) -> list[list[int]]:
    """Tokens of what each code's clusters are called; none for spare codes."""
    tokens: list[list[int]] = [each.ids for each in tokenizer.encode_batch(list(said), add_special_tokens=False)]
    digits = codebook.digits(np.arange(len(said), dtype=np.int32))
    of_code: list[list[int]] = []
    for number, level in enumerate(codebook.levels):
        meant: list[list[int]] = [[] for _ in level]
        for cluster, code in enumerate(digits[:, number].tolist()):
            meant[code] += tokens[cluster]
        of_code += meant
    return of_code


def _embed(model: Any, codes: list[int], meanings: list[list[int]], n_tokens: int, seed: int) -> None:
    """Give codes their embeddings, and the rows that they are answered by."""
    import torch

    if n_tokens > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(n_tokens, mean_resizing=False)
    tables: list[torch.Tensor] = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None and head.weight.data_ptr() != tables[0].data_ptr():
        tables.append(head.weight)
    generator = torch.Generator().manual_seed(seed)
    known = torch.ones(tables[0].shape[0], dtype=torch.bool)
    known[codes] = False
    known[n_tokens:] = False
    with torch.no_grad():
        for table in tables:
            usual = table[known].float()
            spread, middle = usual.std(dim=0), usual.mean(dim=0)
            for code, tokens in zip(codes, meanings, strict=True):
                noise = torch.randn(table.shape[1], generator=generator) * spread
                # A spare code means nothing yet: it stands anywhere.
                mean = table[tokens].float().mean(dim=0) + _NOISE * noise if tokens else middle + noise
                table[code] = mean.to(table.dtype)
