"""Prompts: the contexts of rows, rendered as token ids for our model and as text for any other engine.

Order is static instruction, c1, c2, retrieved line, cue; with rows sorted by (c1, c2) neighbours share the longest
possible prefix, which engines with a prefix cache compute once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from refresh.codebook import NONE_CODE, Codebook
from tidegate.errors import CatalogueError, ConfigError

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

DEFAULT_TEMPLATE = "next_interest.v1"
_PLACEHOLDERS = ("{c1}", "{c2}", "{retrieved}")


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


@dataclass(frozen=True, slots=True)
class Template:
    """A versioned prompt with the placeholders ``{c1}``, ``{c2}`` and ``{retrieved}``, each once and in this order.

    Attributes
    ----------
    name : str      with its version, ``next_interest.v1``
    text : str

    Examples
    --------
    >>> Template("pair.v1", "after {c1} {c2} others {retrieved} next").words
    ('after', 'others', 'next')
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        """Refuse a template whose placeholders are not what prompts are made of."""
        found = tuple(re.findall(r"\{[^}]*\}", self.text))
        if found != _PLACEHOLDERS or any(self.text.split().count(each) != 1 for each in _PLACEHOLDERS):
            raise ConfigError(
                f"The template's placeholders are {' '.join(found) or 'none'}",
                f"Write {' '.join(_PLACEHOLDERS)}, each once, in this order, with white space around",
                place=self.name,
            )

    @classmethod
    def packaged(cls, name: str = DEFAULT_TEMPLATE) -> Template:
        """Read a template that comes with the package.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        folder = resources.files("refresh") / "templates"
        try:
            return cls(name, (folder / f"{name}.txt").read_text("utf-8"))
        except FileNotFoundError:
            known = sorted(entry.name.removesuffix(".txt") for entry in folder.iterdir())
            raise ConfigError(
                f"There is no prompt template {name!r}", f"Choose one of {', '.join(known)}", place="template"
            ) from None

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def words(self) -> tuple[str, ...]:
        """Static words without repetition, in order."""
        return tuple(dict.fromkeys(word for word in self.text.split() if word not in _PLACEHOLDERS))


@dataclass(frozen=True, slots=True)
class PromptBuilder:
    """Renders contexts. All prompts of one builder have the same number of tokens, so batches need no padding.

    Attributes
    ----------
    template : Template
    codebook : Codebook
    n_retrieved : int       clusters in the retrieved line
    """

    template: Template
    codebook: Codebook
    n_retrieved: int = 1

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
        """
        book, n_rows = self.codebook, len(contexts)
        table = self.columns(contexts, book.capacity)
        first = [np.array([vocabulary[token] for token in level], dtype=np.int64) for level in book.levels]
        digits = book.digits(np.arange(book.capacity, dtype=np.int32))
        tokens = np.full((book.capacity + 1, book.n_levels), vocabulary[NONE_CODE], dtype=np.int64)
        for level, of_level in enumerate(first):
            tokens[:-1, level] = of_level[digits[:, level]]
        columns: list[Int64s] = []
        for word in self.template.text.split():
            if word in _PLACEHOLDERS:  # -1 takes the last row: none
                columns += list(tokens[table[:, self._columns_of(word)]].reshape(n_rows, -1).T)
            else:
                columns.append(np.full(n_rows, vocabulary[word], dtype=np.int64))
        return np.stack(columns, axis=1)

    def texts(self, contexts: RowContexts, labels: Sequence[str] | None = None, separator: str = " ") -> list[str]:
        """Render as text.

        Parameters
        ----------
        labels : what stands for each cluster; its codes by default, so that the text tokenises to `token_ids`
        separator : between retrieved clusters
        """
        labels = self.codebook.codes if labels is None else labels
        table = self.columns(contexts, len(labels))
        pieces = re.split(r"\{(?:c1|c2|retrieved)\}", self.template.text)
        words = [*labels, self.codebook.none]
        return [
            f"{pieces[0]}{words[c1]}{pieces[1]}{words[c2]}{pieces[2]}"
            f"{separator.join([words[cluster] for cluster in retrieved])}{pieces[3]}"
            for c1, c2, *retrieved in table.tolist()
        ]

    def _columns_of(self, placeholder: str) -> slice:
        return {"{c1}": slice(0, 1), "{c2}": slice(1, 2), "{retrieved}": slice(2, None)}[placeholder]

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
