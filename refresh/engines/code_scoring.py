"""From scores of tokens to ranked clusters: one prefill where a code is one token, few more where it is two.

An engine returns the best tokens of a prompt and, where it can be asked to, the best of those that are allowed. The
probabilities are those of the whole vocabulary, never renormalised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from refresh.engines.code_model import CodeModel, Prompt
from refresh.engines.contract import Answers, Usage
from refresh.engines.joining import joined
from refresh.prompts import RowContexts, sort_for_prefix
from tidegate.errors import EngineError

Probabilities = NDArray[np.float32]
_UNKNOWN = np.float32(-1)


@dataclass(frozen=True, slots=True)
class TokenScores:
    """The best tokens after each of n prompts, in any order.

    Attributes
    ----------
    tokens : int64[n, k]         -1 where there are fewer
    logprobs : float32[n, k]     natural logarithms of probabilities in the whole vocabulary
    usage : Usage
    """

    tokens: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    usage: Usage


class SharedTokens(list[int]):
    """A list of tokens that requests share: engines that copy their requests deeply must not copy it with them."""

    def __deepcopy__(self, memo: dict[int, object]) -> SharedTokens:
        return self


class TokenScorer(Protocol):
    """Scores the token after each prompt."""

    is_restrictable: bool
    """Whether `allowed` is heeded: then the best token that is allowed is among those returned."""

    def score(self, prompts: Sequence[Prompt], allowed: Sequence[SharedTokens]) -> TokenScores:
        """Score prompts, each with the tokens that it may be answered with (often one object for many)."""
        ...


def score_in_parts(
    scorer: TokenScorer,
    model: CodeModel,
    contexts: RowContexts,
    top_n: int,
    n_at_once: int,
    on_progress: Callable[[int], None] | None = None,
) -> Answers:
    """Answer rows, so many at once, in the order in which neighbours share prefixes; raises as `score_rows` does."""
    order, parts = sort_for_prefix(contexts), []
    for start in range(0, len(contexts), n_at_once):
        rows = order[start : start + n_at_once]
        parts.append(score_rows(scorer, model, contexts[rows], top_n))
        if on_progress is not None:
            on_progress(start + len(rows))
    return joined(parts, top_n, order)


def score_rows(scorer: TokenScorer, model: CodeModel, contexts: RowContexts, top_n: int) -> Answers:
    """Answer rows with the likeliest clusters that are allowed.

    Parameters
    ----------
    contexts : RowContexts of n rows, neighbours with equal prefixes
    top_n : ranks

    Raises
    ------
    EngineError
        If the engine does not answer with tokens that were allowed.
    """
    scored = _CodeScoring(scorer, model, contexts, top_n)
    likely, mass = scored.one_level() if len(model.level_tokens) == 1 else scored.two_levels()
    clusters, probabilities = _ranked(likely, top_n)
    return Answers(clusters, probabilities, mass.clip(0, 1).astype(np.float32), scored.usage)


class _CodeScoring:
    """The scores of some rows, and what they took."""

    def __init__(self, scorer: TokenScorer, model: CodeModel, contexts: RowContexts, top_n: int) -> None:
        self._scorer, self._model, self._top_n = scorer, model, top_n
        self._prompts = model.rendered(contexts)
        self._allowed = model.allowed(contexts)
        self._all_tokens = [SharedTokens(tokens.tolist()) for tokens in model.level_tokens]
        self.usage = Usage()

    def one_level(self) -> tuple[Probabilities, Probabilities]:
        """Probabilities of clusters (negative where unknown or not allowed), and their sum."""
        likely = self._level(self._prompts, 0, self._allowed, self._top_n)
        return likely, likely.clip(0).sum(axis=1)

    def two_levels(self) -> tuple[Probabilities, Probabilities]:
        """Multiply the probabilities of high and low tokens.

        Low tokens are asked for after the likeliest high token first, and after the next as long as the high token
        alone is likelier than the last of the ranks that are found: no cluster below it can be. What is left out of
        the sum is taken to hold as much that is allowed as what was asked for.
        """
        book = self._model.prompts.codebook
        n_rows, n_high, n_low = len(self._prompts), len(self._model.level_tokens[0]), book.n_low
        allowed = np.zeros((n_rows, n_high * n_low), np.bool_)
        allowed[:, : book.capacity] = self._allowed
        by_high = allowed.reshape(n_rows, n_high, n_low)
        may_follow: NDArray[np.bool_] = np.logical_or.reduce(by_high, axis=2)
        of_high = self._level(self._prompts, 0, may_follow, 1)
        likely = np.full((n_rows, n_high, n_low), _UNKNOWN)
        self._follow(of_high, likely, by_high)
        # High tokens that were not among the best are no likelier than the least likely of those that were.
        least = np.where(of_high >= 0, of_high, np.inf).min(axis=1)
        is_open = (may_follow & (of_high < 0)).any(axis=1) & (least > _nth_best(_flat(likely), self._top_n))
        rows = np.flatnonzero(is_open)
        if rows.size:
            of_high[rows] = self._level([self._prompts[row] for row in rows.tolist()], 0, may_follow[rows], n_high)
            self._follow(of_high, likely, by_high)
        asked = of_high.clip(0) * (likely >= 0).any(axis=2)
        found, total, of_asked = likely.clip(0).sum(axis=(1, 2)), of_high.clip(0).sum(axis=1), asked.sum(axis=1)
        mass = np.divide(found * total, of_asked, out=np.zeros_like(found), where=of_asked > 0)
        return _flat(likely)[:, : book.capacity], mass

    def _follow(self, of_high: Probabilities, likely: Probabilities, by_high: NDArray[np.bool_]) -> None:
        """Ask for the low tokens after known high ones, the likeliest first, where they are not in `likely` yet."""
        every_row = np.arange(len(self._prompts))
        for high in np.argsort(-of_high, axis=1, kind="stable").T:
            chance = of_high[every_row, high]
            is_new = ~(likely[every_row, high] >= 0).any(axis=1)
            rows = np.flatnonzero(is_new & (chance > 0) & (chance > _nth_best(_flat(likely), self._top_n)))
            if rows.size:
                prompts = [self._after(row, high[row]) for row in rows.tolist()]
                of_low = self._level(prompts, 1, by_high[rows, high[rows]], self._top_n)
                likely[rows, high[rows]] = np.where(of_low >= 0, of_low * chance[rows, None], _UNKNOWN)

    def _after(self, row: int, high: np.int64) -> Sequence[int]:
        prompt = self._prompts[row]
        assert not isinstance(prompt, str)  # a model that is told by text has one level
        return [*prompt, int(self._model.level_tokens[0][high]), *self._model.infix]

    def _level(self, prompts: Sequence[Prompt], level: int, allowed: NDArray[np.bool_], n_needed: int) -> Probabilities:
        """Probabilities of the tokens of a level, negative where not allowed: the `n_needed` best are known for sure.

        All of a level's tokens are allowed at first, so that all rows share one list. Where that does not show enough
        of those that a row may be answered with, it is asked again for one of the others.
        """
        tokens = self._model.level_tokens[level]
        likely = np.full(allowed.shape, _UNKNOWN)
        wanted = np.minimum(n_needed, allowed.sum(axis=1))
        rows = np.arange(len(prompts))
        ask = [self._all_tokens[level]] * len(prompts)
        while rows.size:
            scores = self._scorer.score([prompts[row] for row in rows.tolist()], ask)
            self.usage += scores.usage
            before = _n_known(likely[rows], allowed[rows])
            _place(likely, rows, scores, tokens)
            after = _n_known(likely[rows], allowed[rows])
            if not self._scorer.is_restrictable:
                break
            if ask[0] is not self._all_tokens[level] and (after == before).any():
                raise EngineError(
                    "The engine answered with a token that was not allowed",
                    "Use a server that heeds allowed_token_ids, such as vLLM",
                    place=self._model.prompts.template.name,
                )
            rows = rows[after < wanted[rows]]
            ask = [SharedTokens(tokens[allowed[row] & (likely[row] < 0)].tolist()) for row in rows]
        return np.where(allowed, likely, _UNKNOWN)


def _n_known(likely: Probabilities, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    known: NDArray[np.int64] = ((likely >= 0) & allowed).sum(axis=1)
    return known


def _place(likely: Probabilities, rows: NDArray[np.int64], scores: TokenScores, tokens: NDArray[np.int64]) -> None:
    """Write the scores of a level's tokens into the columns of those tokens; others are left out."""
    order = np.argsort(tokens)
    at = np.searchsorted(tokens, scores.tokens, sorter=order).clip(max=tokens.shape[0] - 1)
    column = order[at]
    is_ours = tokens[column] == scores.tokens
    row, place = np.nonzero(is_ours)
    likely[rows[row], column[row, place]] = np.exp(scores.logprobs[row, place])


def _flat(likely: Probabilities) -> Probabilities:
    flat: Probabilities = likely.reshape(likely.shape[0], -1)
    return flat


def _nth_best(likely: Probabilities, n: int) -> Probabilities:
    """Return the n-th largest of each row; negative where fewer are known."""
    if n > likely.shape[1]:
        return np.full(likely.shape[0], _UNKNOWN)
    nth: Probabilities = np.partition(likely, likely.shape[1] - n, axis=1)[:, likely.shape[1] - n]
    return nth


def _ranked(likely: Probabilities, top_n: int) -> tuple[NDArray[np.int32], Probabilities]:
    """Rank the known columns of each row, the likeliest first: int32[n, top_n] padded with -1, and probabilities."""
    n_kept = min(top_n, likely.shape[1])
    best = np.argpartition(-likely, n_kept - 1, axis=1)[:, :n_kept] if n_kept else np.zeros((likely.shape[0], 0), int)
    best.sort(axis=1)
    found = np.take_along_axis(likely, best, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    best, found = np.take_along_axis(best, order, axis=1), np.take_along_axis(found, order, axis=1)
    padding = ((0, 0), (0, top_n - n_kept))
    clusters = np.pad(np.where(found >= 0, best, -1), padding, constant_values=-1).astype(np.int32)
    return clusters, np.pad(found.clip(0, 1), padding).astype(np.float32)
