"""The embedded engine: a small decoder, taught by `refresh.training`, that answers in one prefill per row.

Batches have one fixed shape, the last one padded, so that every row goes through the same arithmetic whatever
rows are around it: answers are bit-identical in any order and batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refresh.codebook import names_fingerprint
from refresh.engines.adapter import Adapter, add_adapter
from refresh.engines.code_tokens import CodeTokens
from refresh.engines.contract import Answers, Usage
from refresh.engines.model_files import (
    END,
    PADDING,
    TOKENIZER,
    UNKNOWN,
    read_codebook,
    read_manifest,
    read_model,
    read_vocabulary,
)
from refresh.prompts import PromptBuilder, RowContexts, Scoring, Template
from tidegate.errors import CatalogueError

_BATCH = 512
_HIGH_TOKENS_OF_A_FULL_BATCH = 4  # more are appended to each prompt only with fewer prompts at once


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
    scoring : Scoring
        What the rows of a `DescriptionEngine` around it are known by; its descriptions are its codes.
    adapter : Adapter, optional
        Added to the weights as they are loaded.

    Raises
    ------
    EngineError
        If the model is not whole, or not one of ours.
    CatalogueError
        If it was taught for another catalogue, or the catalogue outgrew its codes.
    """

    name = "embedded"

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        scoring: Scoring = Scoring.CODES,
        adapter: Adapter | None = None,
    ) -> None:
        manifest, fingerprint = read_manifest(folder)
        self.fingerprint = fingerprint if adapter is None else adapter.on(fingerprint)
        self._n_taught = manifest.n_clusters
        if names_fingerprint(names[: self._n_taught]) != manifest.names_fingerprint:
            raise CatalogueError(
                f"The model was taught {self._n_taught} clusters that are not the first of this catalogue",
                "Use the catalogue that it was trained with, or train a model for this one",
                place=str(folder),
            )
        template = Template(manifest.template_name, manifest.template_text)
        codebook = read_codebook(folder, manifest, names)
        self._prompts = PromptBuilder(template, codebook, manifest.n_retrieved, scoring=scoring)
        self._vocabulary = read_vocabulary(folder, template, codebook)
        self._codes = CodeTokens.of(codebook, self._vocabulary)
        self._batch_rows = _BATCH // max(1, self._codes.n_high // _HIGH_TOKENS_OF_A_FULL_BATCH)
        self._tokenizer = folder / TOKENIZER
        self._model = read_model(folder)
        if adapter is not None:
            add_adapter(self._model, adapter)

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

        rows = self._batch_rows

        def infer_from(start: int) -> int:
            stop = min(start + rows, n_rows)
            padded = contexts[np.resize(np.arange(start, stop), rows)]
            ranked, likely, mass = (column[: stop - start] for column in self._infer_batch(padded, top_n))
            clusters[start:stop, : ranked.shape[1]] = ranked
            probabilities[start:stop, : ranked.shape[1]] = likely
            label_mass[start:stop] = mass
            return stop

        # One batch a core beats one batch over all cores: nothing waits at a barrier for a core that is busy.
        with ThreadPoolExecutor(_n_cores(), initializer=_compute_alone) as pool:
            for n_done in pool.map(infer_from, range(0, n_rows, rows)):
                if on_progress is not None:
                    on_progress(n_done)
        return Answers(clusters, probabilities, label_mass, self._usage(n_rows))

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Continue prompts freely; words that the model does not know are read as one unknown word."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._tokenizer))
        unknown = [self._vocabulary[UNKNOWN]]
        read = [encoding.ids or unknown for encoding in tokenizer.encode_batch(list(prompts), add_special_tokens=False)]
        written = [""] * len(read)
        with ThreadPoolExecutor(_n_cores(), initializer=_compute_alone) as pool:
            for rows, texts in pool.map(lambda rows: self._continue(read, rows, max_tokens), _batches(read)):
                for row, text in zip(rows, texts, strict=True):
                    written[row] = text
        return written

    def _continue(self, read: list[list[int]], rows: list[int], max_tokens: int) -> tuple[list[int], list[str]]:
        """Continue prompts of one length, in a batch of the fixed shape."""
        import torch

        words = {token: word for word, token in self._vocabulary.items()}
        tokens = torch.tensor([read[row] for row in rows])[np.resize(np.arange(len(rows)), _BATCH)]
        start = tokens.shape[1]
        with torch.inference_mode():
            for _ in range(max_tokens):
                logits = self._model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[:, 0]
                tokens = torch.cat([tokens, logits.argmax(dim=1, keepdim=True)], dim=1)
        texts = []
        for output in tokens[: len(rows), start:].tolist():
            spoken = [words[token] for token in output]
            spoken = spoken[: spoken.index(END)] if END in spoken else spoken
            texts.append(" ".join(word for word in spoken if word not in (UNKNOWN, PADDING)))
        return rows, texts

    def _usage(self, n_rows: int) -> Usage:
        """Count what rows take: the model has no cache, and writes as many tokens as a code has."""
        return Usage(n_rows, n_rows * self._prompts.n_tokens, 0, n_rows * self._prompts.codebook.n_levels)

    def _infer_batch(
        self, contexts: RowContexts, top_n: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """Answer a batch of the fixed shape: ranked clusters, their probabilities, mass on allowed codes."""
        import torch

        tokens = torch.from_numpy(self._prompts.token_ids(contexts, self._vocabulary))
        with torch.inference_mode():
            likely = self._codes.probabilities(self._model, tokens)
            allowed = np.where(self._allowed(contexts), likely.numpy(), np.float32(-1))
            mass = torch.from_numpy(allowed).clamp_min(0.0).sum(dim=1).clamp_max(1.0).numpy()
        best, values = _best(allowed, min(top_n, allowed.shape[1]))
        is_answer = values >= 0
        ranked = np.where(is_answer, best, -1).astype(np.int32)
        return ranked, np.where(is_answer, values, np.float32(0)), mass

    def _allowed(self, contexts: RowContexts) -> NDArray[np.bool_]:
        """Codes that may be answered: bool[n, capacity]."""
        capacity = self._prompts.codebook.capacity
        table = self._prompts.columns(contexts, capacity)
        allowed = np.zeros((len(contexts), capacity + 1), dtype=np.bool_)  # the last column takes what is -1
        allowed[:, : self._n_taught] = True
        rows = np.arange(len(contexts))[:, None]
        allowed[rows, table[:, 2:]] = True
        allowed[rows, table[:, :2]] = False
        return allowed[:, :capacity]


def _best(likely: NDArray[np.float32], n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Columns and values of each row's `n` largest, the largest first; `likely` is used up. `O(n x cells)`.

    A few passes over contiguous rows take a third of the time of `torch.topk`.
    """
    rows = np.arange(likely.shape[0])
    columns = np.empty((likely.shape[0], n), np.int64)
    values = np.empty((likely.shape[0], n), np.float32)
    for rank in range(n):
        columns[:, rank] = likely.argmax(axis=1)
        values[:, rank] = likely[rows, columns[:, rank]]
        likely[rows, columns[:, rank]] = -np.inf
    return columns, values


def _batches(read: list[list[int]]) -> Iterator[list[int]]:
    """Group prompts by their length, and cut the groups into batches."""
    by_length: dict[int, list[int]] = {}
    for row, tokens in enumerate(read):
        by_length.setdefault(len(tokens), []).append(row)
    for rows in by_length.values():
        for at in range(0, len(rows), _BATCH):
            yield rows[at : at + _BATCH]


def _compute_alone() -> None:
    """Keep the arithmetic of the calling thread on that thread."""
    import torch

    torch.set_num_threads(1)


def _n_cores() -> int:
    """Cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
