"""Prompts: the contexts of rows, rendered as token ids for our model and as text for any other engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from refresh.catalogue_text import ClusterTexts
from refresh.codebook import NONE_CODE, Codebook
from refresh.template import DEFAULT_TEMPLATE, GROUPS, TEXT_TEMPLATE, Template, written
from tidegate.errors import CatalogueError, ConfigError
from tidegate.hashing import cluster_seeds

__all__ = [
    "DEFAULT_TEMPLATE",
    "TEXT_TEMPLATE",
    "Description",
    "PromptBuilder",
    "RowContexts",
    "Scoring",
    "Template",
    "sort_for_prefix",
]

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]


class Scoring(StrEnum):
    """What an engine is to answer."""

    CODES = "codes"  # a code, chosen among those that are allowed
    DESCRIPTION = "description"  # the cluster's description, in free text that is matched exactly


class Description(StrEnum):
    """What describes a cluster where descriptions are answered."""

    NAME = "name"
    KEYWORDS = "keywords"


@dataclass(frozen=True, slots=True)
class RowContexts:
    """What the rows to infer are asked with.

    Attributes
    ----------
    c1 : int32[n]                  -1 for a row of the backoff level, c2 alone
    c2 : int32[n]
    retrieved : int32[n, k]        best first; -1 = no (further) retrieved line
    retrieved_share : float32[n, k], optional
        Share of the evidence behind each retrieved cluster, descending; no part of the prompt.
    """

    c1: Int32s
    c2: Int32s
    retrieved: NDArray[np.int32]
    retrieved_share: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return int(self.c2.shape[0])

    def __getitem__(self, rows: slice | Int64s) -> RowContexts:
        """Return the contexts of some rows, in the order asked for."""
        share = None if self.retrieved_share is None else self.retrieved_share[rows]
        return RowContexts(self.c1[rows], self.c2[rows], self.retrieved[rows], share)

    def columns(self, n_retrieved: int) -> NDArray[np.int32]:
        """Return c1, c2 and the first `n_retrieved` retrieved clusters (padded with -1): int32[n, 2 + n_retrieved]."""
        table = np.full((len(self), 2 + n_retrieved), -1, dtype=np.int32)
        table[:, 0], table[:, 1] = self.c1, self.c2
        n_kept = min(n_retrieved, self.retrieved.shape[1])
        table[:, 2 : 2 + n_kept] = self.retrieved[:, :n_kept]
        return table


def sort_for_prefix(contexts: RowContexts) -> Int64s:
    """Return the order by c1, then c2, in which neighbours share the longest prefixes: int64[n], stable."""
    order: Int64s = np.lexsort((contexts.c2, contexts.c1))
    return order


@dataclass(frozen=True)
class PromptBuilder:
    """Renders contexts. All prompts of one builder with a code template have the same number of tokens: no padding.

    Attributes
    ----------
    template : Template
    codebook : Codebook
    n_retrieved : int       clusters in the retrieved line
    keywords : by cluster name, as the catalogue's file has them
    scoring : Scoring
    described_by : Description     where descriptions are answered
    """

    template: Template
    codebook: Codebook
    n_retrieved: int = 1
    keywords: Mapping[str, str] = field(default_factory=dict)
    scoring: Scoring = Scoring.CODES
    described_by: Description = Description.NAME

    def grown(self, names: Sequence[str]) -> PromptBuilder:
        """Return the builder for the catalogue as it is now (`Codebook.grown`)."""
        return replace(self, codebook=self.codebook.grown(names))

    def token_ids(self, contexts: RowContexts, vocabulary: Mapping[str, int]) -> Int64s:
        """Render as token ids, one token per word and as many per code as it has levels. `O(n L)`.

        Parameters
        ----------
        vocabulary : token ids of each word and of each token of a code

        Returns
        -------
        int64[n, L]

        Raises
        ------
        CatalogueError
            If a cluster is beyond the codebook.
        ConfigError
            If the template names clusters otherwise than by codes.
        """
        self._require_codes()
        book, n_rows = self.codebook, len(contexts)
        table = self.columns(contexts, book.capacity)
        digits = book.digits(np.arange(book.capacity, dtype=np.int32))
        tokens = np.full((book.capacity + 1, book.n_levels), vocabulary[NONE_CODE], dtype=np.int64)
        for number, level in enumerate(book.levels):
            tokens[:-1, number] = np.array([vocabulary[token] for token in level], dtype=np.int64)[digits[:, number]]
        columns: list[Int64s] = []
        for word in self.template.text.split():
            if word[1:-1] in _COLUMNS and word[0] == "{":  # -1 takes the last row: none
                of_place = tokens[table[:, _COLUMNS[word[1:-1]]]]
                columns += list(of_place.reshape(n_rows, of_place.shape[1] * book.n_levels).T)
            else:
                columns.append(np.full(n_rows, vocabulary[word], dtype=np.int64))
        return np.stack(columns, axis=1)

    @property
    def n_tokens(self) -> int:
        """Tokens of every prompt of a code template.

        Raises
        ------
        ConfigError
            If the template names clusters otherwise than by codes.
        """
        self._require_codes()
        n_placeholders = len(self.template.placeholders)
        n_codes = self.codebook.n_levels * (n_placeholders - 1 + self.n_retrieved)
        return len(self.template.text.split()) - n_placeholders + n_codes

    def _require_codes(self) -> None:
        if not self.template.is_code_template:
            raise ConfigError(
                "The template is text, and the model reads words and codes only",
                f"Use one with the placeholders {' '.join(f'{{{group[0]}}}' for group in GROUPS)} alone",
                place=self.template.name,
            )

    def texts(self, contexts: RowContexts) -> list[str]:
        """Render as text: of a code template, what tokenises to `token_ids`. `O(n L)`.

        Raises
        ------
        CatalogueError
            If a cluster is beyond the codebook, or has no name yet that the template could say.
        """
        is_coded = self.template.is_code_template
        table = self.columns(contexts, self.codebook.capacity if is_coded else len(self.codebook.names)).tolist()
        pieces: list[list[str]] = []
        statics = self.template.statics
        for placeholder, static in zip(self.template.placeholders, statics[1:], strict=True):
            values, of_row = self._values(placeholder), _COLUMNS[placeholder]
            pieces.append(
                [written(placeholder, _values_of(row[of_row], values, placeholder)) + static for row in table]
            )
        return [statics[0] + "".join(row) for row in zip(*pieces, strict=True)]

    def _values(self, placeholder: str) -> Sequence[str]:
        """Give what stands for each cluster in the place of a placeholder, by id."""
        if placeholder in _CODE_PLACEHOLDERS:
            return [*self.codebook.codes, self.codebook.none]
        return self.cluster_texts.keywords if "keywords" in placeholder else self.cluster_texts.names

    @cached_property
    def cluster_texts(self) -> ClusterTexts:
        """Names and keywords as prompts write them, by id."""
        return ClusterTexts.of(self.codebook.names, self.keywords)

    @property
    def answers(self) -> Sequence[str]:
        """What a free answer has to be for each cluster, by id.

        Its description or, where codes are asked for or clusters are named by codes alone, its code.
        """
        if self._answers_codes:
            return self.codebook.codes[: len(self.codebook.names)]
        texts = self.cluster_texts
        return texts.names if self.described_by is Description.NAME else texts.keywords

    @property
    def max_answer_tokens(self) -> int:
        """Tokens after which a free answer may end: no description is cut off, as no token is shorter than a byte."""
        if self._answers_codes:
            return self.codebook.n_levels
        return max((len(each.encode()) for each in self.answers), default=0) + 1  # the one that ends it

    @property
    def _answers_codes(self) -> bool:
        return self.scoring is Scoring.CODES or self.template.is_code_template

    @cached_property
    def cluster_hashes(self) -> NDArray[np.uint64]:
        """Hash of all that prompts and answers may say of each cluster, uint64[C + 1]; the last stands for none."""
        is_by_keywords = self.scoring is Scoring.DESCRIPTION and self.described_by is Description.KEYWORDS
        if not (self.template.speaks_keywords or is_by_keywords):
            return self.codebook.name_hashes
        said = [f"{len(name)} {name}{self.keywords.get(name, '')}" for name in self.codebook.names]
        return np.append(cluster_seeds(said), np.uint64(0))

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """All of how rows are asked that they share."""
        is_described = self.scoring is Scoring.DESCRIPTION
        described = (f"{self.scoring} by {self.described_by}",) if is_described else ()
        return (self.template.sha256, self.codebook.fingerprint, *described)

    def columns(self, contexts: RowContexts, n_labels: int) -> NDArray[np.int32]:
        """Return the clusters that prompts name, int32[n, 2 + n_retrieved], all below `n_labels`.

        Raises
        ------
        CatalogueError
            If a cluster is beyond that.
        """
        table = contexts.columns(self.n_retrieved)
        highest = int(table.max(initial=-1))
        if highest >= n_labels:
            raise CatalogueError(
                f"A prompt names cluster {highest}, the codebook ends at {n_labels - 1}",
                "Fine-tune a model for the larger catalogue: its codebook grows with it",
            )
        return table


_CODE_PLACEHOLDERS = tuple(group[0] for group in GROUPS)
_COLUMNS = {
    placeholder: columns
    for group, columns in zip(GROUPS, (slice(0, 1), slice(1, 2), slice(2, None)), strict=True)
    for placeholder in group
}


def _values_of(clusters: Sequence[int], values: Sequence[str], placeholder: str) -> list[str]:
    """Values of the clusters of one place: a code for each, a text for each that there is."""
    if placeholder in _CODE_PLACEHOLDERS:
        return [values[cluster] for cluster in clusters]  # -1 takes the last: none
    texts = [values[cluster] for cluster in clusters if cluster >= 0]
    return texts if any(texts) else []
