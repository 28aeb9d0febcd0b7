"""Full fine-tune of the embedded model: all weights go on from those that serve, or begin anew.

They begin anew where there are none, or the catalogue is no longer the one that they were taught: a cluster was
renamed, or it outgrew its codes. A catalogue that grew within its spare codes is gone on with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refresh.codebook import Codebook, names_fingerprint
from refresh.engines.model_files import (
    TOKENIZER,
    ModelManifest,
    read_codebook,
    read_manifest,
    read_model,
    read_vocabulary,
    write_model,
)
from refresh.finetune.candidate import CandidateKind
from refresh.finetune.learner import in_parts
from refresh.prompts import PromptBuilder, RowContexts, Template
from refresh.training.model import new_model, new_tokenizer, shape_for
from refresh.training.samples import Samples
from refresh.training.teach import Pupil
from tidegate.errors import EngineError
from tidegate.files import sha256_of_file

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

Int32s = NDArray[np.int32]


class FullLearner:
    """The embedded model while all of its weights learn (`refresh.finetune.learner.FineTuned`)."""

    kind = CandidateKind.FULL
    device, dtype = "cpu", "float32"  # it is small and exact: its bytes do not depend on a GPU

    def __init__(self, pupil: Pupil, base: str | None, why_from_nothing: str | None) -> None:
        self.base, self.why_from_nothing = base, why_from_nothing
        self.pupil, self.prompts = pupil, pupil.prompts
        self.n_readable = pupil.prompts.codebook.capacity

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """Weights that learn, by name."""
        return self.pupil.trained

    @property
    def n_weights(self) -> int:
        """Weights in all."""
        return sum(weights.numel() for weights in self.trained.values())

    @property
    def tokenizer_sha256(self) -> str:
        """SHA-256 of the ``tokenizer.json`` that `write` writes."""
        with TemporaryDirectory() as folder:
            self._tokenizer.save_pretrained(folder)
            return sha256_of_file(Path(folder) / TOKENIZER)

    @property
    def _tokenizer(self) -> PreTrainedTokenizerFast:
        return new_tokenizer(self.prompts.template, self.prompts.codebook)

    def losses(self, samples: Samples) -> torch.Tensor:
        """Loss of each sample, nats: float32[n]."""
        return self.pupil.losses(samples)

    def answers(self, samples: Samples) -> Int32s:
        """Cluster that each row would be answered with: int32[n]."""
        parts = [self._answers(part) for part in in_parts(samples)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def _answers(self, samples: Samples) -> Int32s:
        import torch

        contexts = RowContexts(samples.c1, samples.c2, samples.retrieved)
        tokens = torch.from_numpy(self.prompts.token_ids(contexts, self.pupil.vocabulary))
        with torch.inference_mode():
            likely = self.pupil.codes.probabilities(self.pupil.model, tokens).numpy()
        likely = np.pad(likely[:, : len(self.prompts.codebook.names)], ((0, 0), (0, 1)))  # the last takes what is -1
        rows = np.arange(len(samples))
        likely[rows, samples.c1], likely[rows, samples.c2] = -1.0, -1.0
        best: Int32s = likely[:, :-1].argmax(axis=1).astype(np.int32)
        return best

    def write(self, folder: Path, facts: Mapping[str, float | int | str]) -> None:
        """Write a model's folder, manifest and all."""
        inner = folder / "model"
        write_model(inner, self.pupil.model, self._tokenizer, _manifest(self.prompts, facts))
        for path in inner.iterdir():
            path.rename(folder / path.name)
        inner.rmdir()


def open_full(
    base: Path | None, names: Sequence[str], *, seed: int, template: Template | None = None, n_retrieved: int = 1
) -> FullLearner:
    """Go on from the weights that serve, or make new ones.

    Parameters
    ----------
    base : Path, optional        folder of an embedded model
    names : the catalogue by id, as it was at the flag
    template, n_retrieved :      of a model that begins from nothing; one that goes on keeps its own

    Raises
    ------
    EngineError
        If the base is not whole, or its tokenizer is not one that we make.
    CatalogueError
        If there are more clusters than codes can be made for.
    """
    if base is None:
        return _from_nothing(names, template, n_retrieved, seed, "no weights serve yet")
    manifest, fingerprint = read_manifest(base)
    known = Template(manifest.template_name, manifest.template_text)
    why = _why_from_nothing(manifest, names)
    if why is not None:
        return _from_nothing(names, known, manifest.n_retrieved, seed, why)
    codebook = read_codebook(base, manifest, names)
    prompts = PromptBuilder(known, codebook, manifest.n_retrieved)
    vocabulary = read_vocabulary(base, known, codebook)
    if vocabulary != new_tokenizer(known, codebook).get_vocab():
        raise EngineError(
            "The base's tokenizer is not the one that its template and codebook make",
            "Restore the base's tokenizer.json, or fine-tune from nothing",
            place=str(base / TOKENIZER),
        )
    model = read_model(base)
    return FullLearner(Pupil(model, prompts, vocabulary), fingerprint, None)


def _why_from_nothing(manifest: ModelManifest, names: Sequence[str]) -> str | None:
    if names_fingerprint(names[: manifest.n_clusters]) != manifest.names_fingerprint:
        return f"the {manifest.n_clusters} clusters that the weights were taught are not the catalogue's first any more"
    if len(names) > manifest.capacity:
        return f"the catalogue's {len(names)} clusters outgrew the weights' {manifest.capacity} codes"
    return None


def _from_nothing(
    names: Sequence[str], template: Template | None, n_retrieved: int, seed: int, why: str
) -> FullLearner:
    template, codebook = template or Template.packaged(), Codebook.of(names)
    prompts = PromptBuilder(template, codebook, n_retrieved)
    tokenizer = new_tokenizer(template, codebook)
    shape = shape_for(prompts.n_tokens + codebook.n_levels)
    model = new_model(len(tokenizer), shape, seed=seed)
    return FullLearner(Pupil(model, prompts, tokenizer.get_vocab()), None, why)


def _manifest(prompts: PromptBuilder, facts: Mapping[str, float | int | str]) -> ModelManifest:
    codebook = prompts.codebook
    return ModelManifest(
        template_name=prompts.template.name,
        template_text=prompts.template.text,
        n_retrieved=prompts.n_retrieved,
        capacity=codebook.capacity,
        codebook_fingerprint=codebook.fingerprint,
        n_clusters=len(codebook.names),
        names_fingerprint=names_fingerprint(codebook.names),
        recipe=dict(facts),
    )
