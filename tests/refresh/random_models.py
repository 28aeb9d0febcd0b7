"""Models with random weights: nothing is taught, so nothing is near certain, and every rank counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refresh.codebook import Codebook, names_fingerprint
from refresh.engines.model_files import ModelManifest, write_model
from refresh.prompts import Template
from refresh.training.model import ModelShape, new_model, new_tokenizer

_SPREAD = 4.0  # weights as they are initialised answer anything with much the same probability


def write_random_model(folder: Path, names: Sequence[str], *, capacity: int | None = None, seed: int = 1) -> Path:
    """Write a model as training would, with the codebook of these clusters."""
    import torch

    template, codebook = Template.packaged(), Codebook.of(names, capacity)
    tokenizer = new_tokenizer(template, codebook)
    model = new_model(len(tokenizer), ModelShape(), seed=seed)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" not in name:
                weights.mul_(_SPREAD)
    manifest = ModelManifest(
        template_name=template.name,
        template_text=template.text,
        n_retrieved=1,
        capacity=codebook.capacity,
        codebook_fingerprint=codebook.fingerprint,
        n_clusters=len(names),
        names_fingerprint=names_fingerprint(names),
        recipe={},
    )
    write_model(folder, model, tokenizer, manifest)
    return folder
