"""Free answers: each cluster's description, generated without constraint and matched exactly.

The paper's way to answer. What a model writes is untrusted: an output counts only where, once normalised, it is the
description of one cluster of the catalogue that is neither c1 nor c2. Nothing is guessed from the rest of it.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from refresh.engines.contract import Answers, TextGenerator, Usage
from refresh.prompts import PromptBuilder, RowContexts
from tidegate.errors import CatalogueError

_EXTRA_CHARACTERS = 16  # around the longest description: white space, an end of sentence; more is another text


class OutputFault(StrEnum):
    """Why an output is no answer; the first that holds is counted."""

    EMPTY = "empty"  # nothing but white space
    TOO_LONG = "too_long"  # longer than any description
    CONTROL = "control"  # a control, format or unassigned character, or a surrogate
    UNKNOWN = "unknown"  # no cluster's description
    NOT_NEW = "not_new"  # that of c1 or c2


def normalised(text: str) -> str:
    r"""Write a text as it is compared: NFKC, case folded, white space in runs of one and none at the ends.

    Examples
    --------
    >>> normalised("  Ｊａｚｚ  &\tSoul\n")
    'jazz & soul'
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


@dataclass(frozen=True, slots=True)
class Matches:
    """What outputs mean.

    Attributes
    ----------
    clusters : int32[n]     -1 where an output is no answer
    named : int32[n]        the same, c1 and c2 among them: what the output names, allowed or not
    faults : outputs by fault
    """

    clusters: NDArray[np.int32]
    named: NDArray[np.int32]
    faults: Counter[OutputFault]


@dataclass(frozen=True)
class Descriptions:
    r"""Cluster by description.

    Attributes
    ----------
    texts : tuple of str     by id

    Examples
    --------
    >>> Descriptions.of(["Jazz", "Soul"]).cluster_of("soul\n")
    1
    """

    texts: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Descriptions:
        """Index descriptions.

        Raises
        ------
        CatalogueError
            If two clusters have the same one, or a cluster has none: the two are named.
        """
        descriptions = cls(tuple(texts))
        cluster_of = descriptions._cluster_of
        for cluster, text in enumerate(texts):
            key = normalised(text)
            if not key:
                raise CatalogueError(
                    f"Cluster {cluster} has no description",
                    "Write keywords for every cluster into the catalogue, or describe clusters by name",
                    place="catalogue",
                )
            if cluster_of[key] != cluster:
                raise CatalogueError(
                    f"Clusters {cluster_of[key]} ({texts[cluster_of[key]]!r}) and {cluster} ({text!r}) have the same "
                    "description once case and white space are set aside",
                    "Describe them differently: an answer could mean both",
                    place="catalogue",
                )
        return descriptions

    @cached_property
    def _cluster_of(self) -> dict[str, int]:
        indexed: dict[str, int] = {}
        for cluster, text in enumerate(self.texts):
            indexed.setdefault(normalised(text), cluster)
        return indexed

    @cached_property
    def _longest(self) -> int:
        return max((len(text) for text in self.texts), default=0) + _EXTRA_CHARACTERS

    def cluster_of(self, output: str) -> int | OutputFault:
        """Tell which cluster an output describes, or why none."""
        if not output.strip():
            return OutputFault.EMPTY
        if len(output.strip()) > self._longest:  # before any other work on what may be huge
            return OutputFault.TOO_LONG
        if any(unicodedata.category(each).startswith("C") and not each.isspace() for each in output):
            return OutputFault.CONTROL
        return self._cluster_of.get(normalised(output), OutputFault.UNKNOWN)

    def match(self, outputs: Sequence[str], contexts: RowContexts) -> Matches:
        """Match the outputs of rows. `O(n)`.

        Parameters
        ----------
        outputs : n texts, in the order of `contexts`
        """
        found = [self.cluster_of(output) for output in outputs]
        named = np.array([each if isinstance(each, int) else -1 for each in found], np.int32)
        is_old = (named >= 0) & ((named == contexts.c1) | (named == contexts.c2))
        faults = Counter(each for each in found if isinstance(each, OutputFault))
        if is_old.any():
            faults[OutputFault.NOT_NEW] = int(is_old.sum())
        return Matches(np.where(is_old, np.int32(-1), named), named, faults)


class Speaker(TextGenerator, Protocol):
    """An engine that generates free text, and says how rows are asked."""

    name: str

    @property
    def prompts(self) -> PromptBuilder:
        """How rows are asked."""
        ...

    def grow(self, names: Sequence[str]) -> None:
        """Take the catalogue as it is now."""
        ...


class DescriptionEngine:
    """Answers rows with what a speaker writes freely: one cluster a row, with probability 1, or none.

    Parameters
    ----------
    speaker : Speaker     whose `prompts.answers` say what it is to write

    Attributes
    ----------
    faults : Counter of OutputFault     outputs that were no answers, since the engine was opened

    Raises
    ------
    CatalogueError
        If two clusters have the same description.
    """

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self.name, self.fingerprint = speaker.name, speaker.fingerprint
        self.faults: Counter[OutputFault] = Counter()
        self._descriptions = Descriptions.of(self.prompts.answers)

    @property
    def prompts(self) -> PromptBuilder:
        """How rows are asked."""
        return self._speaker.prompts

    def grow(self, names: Sequence[str]) -> None:
        """Take the catalogue as it is now; its descriptions, too, must be told apart."""
        self._speaker.grow(names)
        self._descriptions = Descriptions.of(self.prompts.answers)

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Continue prompts freely, as the speaker does: the probe asks it, too."""
        return self._speaker.generate(prompts, max_tokens)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        """Answer rows."""
        clusters = np.full((len(contexts), top_n), -1, np.int32)
        outputs = self._speaker.generate(self.prompts.texts(contexts), self.prompts.max_answer_tokens)
        matches = self._descriptions.match(outputs, contexts)
        self.faults.update(matches.faults)
        clusters[:, 0] = matches.clusters
        is_answered = (clusters >= 0).astype(np.float32)
        if on_progress is not None:
            on_progress(len(contexts))
        return Answers(clusters, is_answered, is_answered[:, 0].copy(), Usage(n_prompts=len(contexts)))
