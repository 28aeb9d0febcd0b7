"""The embedded engine: a small decoder, taught by `refresh.training`, that answers in one prefill per row.

Batches have one fixed shape, the last one padded, so that every row goes through the same arithmetic whatever
rows are around it: answers are bit-identical in any order and batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refresh.codebook import names_fingerprint
from refresh.engines import Answers
from refresh.engines.model_files import read_codebook, read_manifest, read_model, read_vocabulary
from refresh.prompts import PromptBuilder, RowContexts, Template
from tidegate.errors import CatalogueError

if TYPE_CHECKING:
    import torch

_BATCH = 512


class EmbeddedEngine:
    """Answers with the likeliest codes that are allowed.

    Allowed are the clusters that the model was taught and those its retrieved line names, but c1 and c2. So a spare
    code is answered once it is retrieved, and a catalogue that grows changes no other row's answer.

    Parameters
    ----------
    folder : Path
        As `refresh.training.train_model` writes it.
    names : sequence of str
        The catalogue's clusters by id; may have grown since training.

    Raises
    ------
    EngineError
        If the model is not whole, or not one of ours.
    CatalogueError
        If it was taught for another catalogue, or the catalogue outgrew its codes.
    """

    name = "embedded"

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        manifest, self.fingerprint = read_manifest(folder)
        self._n_taught = manifest.n_clusters
        if names_fingerprint(names[: self._n_taught]) != manifest.names_fingerprint:
            raise CatalogueError(
                f"The model was taught {self._n_taught} clusters that are not the first of this catalogue",
                "Use the catalogue that it was trained with, or train a model for this one",
                place=str(folder),
            )
        template = Template(manifest.template_name, manifest.template_text)
        codebook = read_codebook(folder, manifest, names)
        self._prompts = PromptBuilder(template, codebook, manifest.n_retrieved)
        self._vocabulary = read_vocabulary(folder, template, codebook)
        self._code_start = self._vocabulary[self._prompts.codebook.codes[0]]
        self._model = read_model(folder)

    @property
    def prompts(self) -> PromptBuilder:
        """How rows are asked."""
        return self._prompts

    def grow(self, names: Sequence[str]) -> None:
        """Take the catalogue as it is now."""
        self._prompts = self._prompts.grown(names)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        """Answer rows by one prefill each."""
        n_rows = len(contexts)
        clusters = np.full((n_rows, top_n), -1, dtype=np.int32)
        probabilities = np.zeros((n_rows, top_n), dtype=np.float32)
        label_mass = np.zeros(n_rows, dtype=np.float32)

        def infer_from(start: int) -> int:
            stop = min(start + _BATCH, n_rows)
            padded = contexts[np.resize(np.arange(start, stop), _BATCH)]
            ranked, likely, mass = (column[: stop - start] for column in self._infer_batch(padded, top_n))
            clusters[start:stop, : ranked.shape[1]] = ranked
            probabilities[start:stop, : ranked.shape[1]] = likely
            label_mass[start:stop] = mass
            return stop

        # One batch a core beats one batch over all cores: nothing waits at a barrier for a core that is busy.
        with ThreadPoolExecutor(_n_cores(), initializer=_compute_alone) as pool:
            for n_done in pool.map(infer_from, range(0, n_rows, _BATCH)):
                if on_progress is not None:
                    on_progress(n_done)
        return Answers(clusters, probabilities, label_mass)

    def _infer_batch(
        self, contexts: RowContexts, top_n: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """Answer a batch of the fixed shape: ranked clusters, their probabilities, mass on allowed codes."""
        import torch

        tokens = torch.from_numpy(self._prompts.token_ids(contexts, self._vocabulary))
        with torch.inference_mode():
            logits = self._model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[:, 0]
            stop = self._code_start + self._prompts.codebook.capacity
            likely = torch.softmax(logits, dim=1)[:, self._code_start : stop]
            likely = torch.where(self._allowed(contexts), likely, -1.0)
            best = torch.topk(likely, min(top_n, likely.shape[1]), dim=1)
            mass = likely.clamp_min(0.0).sum(dim=1).clamp_max(1.0)
        is_answer = best.values.numpy() >= 0
        ranked = np.where(is_answer, best.indices.numpy(), -1).astype(np.int32)
        return ranked, np.where(is_answer, best.values.numpy(), np.float32(0)), mass.numpy()

    def _allowed(self, contexts: RowContexts) -> torch.Tensor:
        """Codes that may be answered: bool[n, capacity]."""
        import torch

        capacity = self._prompts.codebook.capacity
        table = self._prompts.columns(contexts, capacity)
        allowed = np.zeros((len(contexts), capacity + 1), dtype=np.bool_)  # the last column takes what is -1
        allowed[:, : self._n_taught] = True
        rows = np.arange(len(contexts))[:, None]
        allowed[rows, table[:, 2:]] = True
        allowed[rows, table[:, :2]] = False
        return torch.from_numpy(allowed[:, :capacity])


def _compute_alone() -> None:
    """Keep the arithmetic of the calling thread on that thread."""
    import torch

    torch.set_num_threads(1)


def _n_cores() -> int:
    """Cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
