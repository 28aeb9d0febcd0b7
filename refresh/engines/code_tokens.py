"""Codes as a decoder's tokens: what each cluster's code is worth after a prompt, exactly, in one forward pass.

A code of one token is read off the prompt's last position. One of two tokens has the probability p(high) x p(low |
high), and each high token has its own distribution of low ones: all high tokens are appended to the prompt at once,
side by side, each of which sees the prompt and itself alone. That is the arithmetic of asking once for each high token,
at the cost of a few more tokens a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refresh.codebook import Codebook

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM


@dataclass(frozen=True, slots=True)
class CodeTokens:
    """Where the tokens of each level stand in the vocabulary: they are consecutive.

    Attributes
    ----------
    codebook : Codebook
    starts : tuple of int     token id of each level's first token
    """

    codebook: Codebook
    starts: tuple[int, ...]

    @classmethod
    def of(cls, codebook: Codebook, vocabulary: Mapping[str, int]) -> CodeTokens:
        """Look the levels up."""
        return cls(codebook, tuple(vocabulary[level[0]] for level in codebook.levels))

    @property
    def n_high(self) -> int:
        """High tokens that are appended to a prompt; 0 where there is one level."""
        return len(self.codebook.levels[0]) if self.codebook.n_levels == 2 else 0

    def probabilities(self, model: LlamaForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
        """Probability of every code, spare ones included: int64[n, L] to float32[n, capacity]."""
        import torch

        last, of_high = self._logits(model, tokens)
        first = self._of_level(torch.softmax(last, dim=1), 0)
        if of_high is None:
            return first
        low = self._of_level(torch.softmax(of_high, dim=2), 1)
        return (first[:, :, None] * low).flatten(1)[:, : self.codebook.capacity]

    def free(self, model: LlamaForCausalLM, tokens: torch.Tensor) -> NDArray[np.int32]:
        """Cluster that is written freely, token by token; -1 where that is no code: int64[n, L] to int32[n]."""
        last, of_high = self._logits(model, tokens)
        cluster = last.argmax(dim=1).numpy() - self.starts[0]
        width = self.codebook.capacity
        if of_high is not None:
            is_high = (cluster >= 0) & (cluster < self.n_high)
            high = np.where(is_high, cluster, 0)
            low = of_high.argmax(dim=2).numpy()[np.arange(high.shape[0]), high] - self.starts[1]
            is_code = is_high & (low >= 0) & (low < self.codebook.n_low)
            cluster = np.where(is_code, high * self.codebook.n_low + low, -1)
        return np.where((cluster >= 0) & (cluster < width), cluster, -1).astype(np.int32)

    def losses(self, model: LlamaForCausalLM, tokens: torch.Tensor, targets: NDArray[np.int32]) -> torch.Tensor:
        """Minus log probability of the target's code, nats: int64[n, L] and int32[n] to float32[n]."""
        import torch

        digits = torch.from_numpy(self.codebook.digits(targets)) + torch.tensor(self.starts)
        tokens = torch.cat([tokens, digits[:, :-1]], dim=1)
        n_levels = self.codebook.n_levels
        logits = model(input_ids=tokens, use_cache=False, logits_to_keep=n_levels).logits
        losses = [
            torch.nn.functional.cross_entropy(logits[:, level], digits[:, level], reduction="none")
            for level in range(n_levels)
        ]
        return losses[0] if n_levels == 1 else losses[0] + losses[1]

    def _logits(self, model: LlamaForCausalLM, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits after the prompt, [n, V], and after each high token, [n, n_high, V]."""
        import torch

        if self.codebook.n_levels == 1:
            return model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[:, 0], None
        (n, length), n_high = tokens.shape, self.n_high
        highs = torch.arange(self.starts[0], self.starts[0] + n_high).expand(n, n_high)
        positions = torch.cat([torch.arange(length), torch.full((n_high,), length)])[None]
        sees = torch.ones((length + n_high, length + n_high), dtype=torch.bool).tril()
        sees[length:, length:] = torch.eye(n_high, dtype=torch.bool)
        logits = model(
            input_ids=torch.cat([tokens, highs], dim=1),
            position_ids=positions,
            attention_mask=sees[None, None],
            use_cache=False,
            logits_to_keep=n_high + 1,
        ).logits
        return logits[:, 0], logits[:, 1:]

    def _of_level(self, values: torch.Tensor, level: int) -> torch.Tensor:
        start = self.starts[level]
        return values[..., start : start + len(self.codebook.levels[level])]
