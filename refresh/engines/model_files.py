"""A model's folder: Hugging Face files, and a manifest that says what they are and seals them by checksum.

``config.json``, ``model.safetensors``, ``tokenizer.json``, ``tokenizer_config.json``: any Llama loader reads them.
``tidegate.json``: what the model was taught for, and the SHA-256 of each of the others.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from refresh.codebook import NONE_CODE, Codebook
from refresh.prompts import Template
from tidegate.errors import EngineError
from tidegate.files import flush_folder, sha256_of_file, write_atomically

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

MANIFEST = "tidegate.json"
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
UNKNOWN, PADDING, END = "<unk>", "<pad>", "</s>"
_TIED = "lm_head.weight"  # the embedding's own tensor: stored once
_FORMAT = 1
_RETRAIN = "Remove the folder and train the model again"


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a model was taught for. Holds no time: equal training gives equal bytes."""

    format: int = _FORMAT
    template_name: str
    template_text: str
    n_retrieved: int
    capacity: int
    codebook_fingerprint: str
    n_clusters: int
    """Clusters of the catalogue it was taught; codes from here on are known by reading alone."""
    names_fingerprint: str
    recipe: dict[str, float | int | str]
    files: dict[str, str] = {}


def require_new(folder: Path) -> None:
    """Refuse to train into a folder that exists: a model is never changed in place.

    Raises
    ------
    EngineError
        If it does.
    """
    if folder.exists():
        raise EngineError("A model is there already", "Choose a new folder for each training", place=str(folder))


def write_model(
    folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, manifest: ModelManifest
) -> None:
    """Write a model's folder whole or not at all.

    1. Write all files into a sibling folder, the manifest with their checksums last.
    2. Flush them, and rename the sibling to `folder`.

    Raises
    ------
    EngineError
        If `folder` is there already.
    """
    require_new(folder)
    sibling = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(sibling, ignore_errors=True)
    sibling.mkdir(parents=True)
    _write_files(sibling, model, tokenizer)  # 1
    files = {path.name: sha256_of_file(path) for path in sorted(sibling.iterdir())}
    sealed = msgspec.structs.replace(manifest, files=files)
    write_atomically(sibling / MANIFEST, msgspec.json.format(msgspec.json.encode(sealed)))
    for name in files:  # 2
        with (sibling / name).open("rb") as file:
            os.fsync(file.fileno())
    sibling.rename(folder)
    flush_folder(folder.parent)


def _write_files(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != _TIED}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def read_manifest(folder: Path) -> tuple[ModelManifest, str]:
    """Read the manifest and check every file against it.

    Returns
    -------
    ModelManifest, str
        The manifest and its own SHA-256, which stands for the whole model.

    Raises
    ------
    EngineError
        If there is no model, it is none of ours, or a file is missing, truncated or changed.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = msgspec.json.decode(content, type=ModelManifest)
    except OSError:
        raise EngineError(
            f"There is no {MANIFEST}", "Name a folder that Tidegate trained a model into", place=str(folder)
        ) from None
    except msgspec.MsgspecError as error:
        raise EngineError(f"The manifest cannot be read ({error})", _RETRAIN, place=str(folder / MANIFEST)) from None
    if manifest.format != _FORMAT:
        raise EngineError(
            f"The model's format is {manifest.format}, this version reads {_FORMAT}", _RETRAIN, place=str(folder)
        )
    _check_files(folder, manifest)
    return manifest, hashlib.sha256(content).hexdigest()


def _check_files(folder: Path, manifest: ModelManifest) -> None:
    for name in {WEIGHTS, CONFIG, TOKENIZER, *manifest.files}:
        path = folder / name
        if not path.is_file() or name not in manifest.files:
            raise EngineError(f"The model has no {name}, or its manifest does not know it", _RETRAIN, place=str(folder))
        if sha256_of_file(path) != manifest.files[name]:
            raise EngineError("The file is not the one that was written (checksum)", _RETRAIN, place=str(path))


def read_codebook(folder: Path, manifest: ModelManifest, names: Sequence[str]) -> Codebook:
    """Codebook that the model was taught, for the catalogue as it is now.

    Raises
    ------
    EngineError
        If no codebook of so many codes is the one that the manifest means.
    CatalogueError
        If the catalogue outgrew the codes.
    """
    codebook = Codebook.of_fingerprint(names, manifest.capacity, manifest.codebook_fingerprint)
    if codebook is None:
        raise EngineError("The model was taught another codebook than this version makes", _RETRAIN, place=str(folder))
    return codebook


def read_vocabulary(folder: Path, template: Template, codebook: Codebook) -> dict[str, int]:
    """Token ids by word and code token, once each proves to be one token and those of a level to be consecutive.

    Raises
    ------
    EngineError
        If the tokenizer splits a token of a code, or belongs to another codebook.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    is_whole = all(word in vocabulary for word in (NONE_CODE, *template.words))
    for level in codebook.levels:
        ids = tokenizer.encode(" ".join(level), add_special_tokens=False).ids
        first = ids[0] if ids else 0
        is_whole &= all(token in vocabulary for token in level) and ids == list(range(first, first + len(level)))
    if not is_whole:
        raise EngineError(
            f"The tokenizer does not give each of {codebook.capacity} codes one token of its own a level",
            _RETRAIN,
            place=str(folder),
        )
    return vocabulary


def read_model(folder: Path) -> LlamaForCausalLM:
    """Load the decoder, ready to infer. Reads these files only and reaches for no hub.

    Raises
    ------
    EngineError
        If the weights do not fit the configuration.
    """
    from safetensors.torch import load_file
    from transformers import LlamaConfig

    model = build_model(LlamaConfig.from_json_file(str(folder / CONFIG)))
    try:
        missing, foreign = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    except RuntimeError as error:
        raise EngineError(f"The weights do not fit {CONFIG} ({error})", _RETRAIN, place=str(folder)) from None
    if foreign or set(missing) - {_TIED}:
        raise EngineError(f"The weights are not those of {CONFIG}", _RETRAIN, place=str(folder))
    model.train(False)
    return model


def build_model(config: LlamaConfig) -> LlamaForCausalLM:
    """Make a decoder of this configuration, with the attention that all our arithmetic goes through."""
    from transformers import LlamaForCausalLM

    config._attn_implementation = "sdpa"
    build: Callable[[LlamaConfig], LlamaForCausalLM] = LlamaForCausalLM
    return build(config)
