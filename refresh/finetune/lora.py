"""Adapters: low-rank additions to the linear layers of any causal decoder in Hugging Face format (peft).

The model answers in codes, so its tokenizer has them (`refresh.finetune.coded_base` adds them to one that does not).
Only the answer's tokens bear loss: the code at a prompt's last position, or the high and the low one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.engines.code_model import Asking, CodeModel, read_code_model
from refresh.engines.model_files import TOKENIZER
from refresh.finetune.candidate import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CandidateKind, base_fingerprint
from refresh.finetune.learner import in_parts
from refresh.finetune.recipe import FineTuneRecipe
from refresh.prompts import RowContexts, Scoring
from refresh.training.samples import Samples
from tidegate.errors import ConfigError, EngineError
from tidegate.files import sha256_of_file

if TYPE_CHECKING:
    import torch

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
_ASKED_AT_ONCE = 256


class LoraLearner:
    """A decoder while an adapter of it learns (`refresh.finetune.learner.FineTuned`).

    Parameters
    ----------
    model : peft's, on its device
    code_model : how it is asked
    base : fingerprint of the weights below the adapter
    tokenizer_sha256 : of its ``tokenizer.json``
    """

    kind = CandidateKind.LORA
    why_from_nothing: str | None = None

    def __init__(self, model: Any, code_model: CodeModel, base: str, tokenizer_sha256: str) -> None:
        self._model, self._asked = model, code_model
        self.base: str | None = base
        self.tokenizer_sha256 = tokenizer_sha256
        self.prompts = code_model.prompts
        is_ours = code_model.vocabulary is not None
        self.n_readable = self.prompts.codebook.capacity if is_ours else code_model.n_taught
        weights = next(iter(model.parameters()))
        self.device, self.dtype = weights.device.type, str(weights.dtype).removeprefix("torch.")

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """Weights of the adapter, by name."""
        return {name: weights for name, weights in self._model.named_parameters() if weights.requires_grad}

    @property
    def n_weights(self) -> int:
        """Weights in all, the adapter's among them."""
        return sum(weights.numel() for weights in self._model.parameters())

    def losses(self, samples: Samples) -> torch.Tensor:
        """Loss of each sample over its answer's tokens alone, nats: float32[n]."""
        import torch

        answers = self._answer_tokens(samples.target)
        logits = self._logits(self.rendered(samples), answers[:, :-1])
        targets = torch.from_numpy(answers).to(logits.device)
        each = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        return each.sum(dim=1)

    def answers(self, samples: Samples) -> Int32s:
        """Cluster that each row would be answered with, token by token, never c1 or c2: int32[n]."""
        import torch

        with torch.inference_mode():
            parts = [self._answers(part) for part in in_parts(samples, _ASKED_AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def write(self, folder: Path, facts: Mapping[str, float | int | str]) -> None:
        """Write the adapter as peft does, but without a model card, paths and orders that differ between processes."""
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        tensors = get_peft_model_state_dict(self._model)
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
        save_file(plain, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        config = self._model.peft_config["default"].to_dict() | {
            "inference_mode": True,
            "base_model_name_or_path": None,
        }
        (folder / ADAPTER_CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(_plain(config))))

    def rendered(self, samples: Samples) -> list[list[int]]:
        """Prompts of samples as the model reads them."""
        contexts = RowContexts(samples.c1, samples.c2, samples.retrieved)
        return [list(prompt) for prompt in self._asked.rendered(contexts)]  # type: ignore[arg-type]

    def _answer_tokens(self, clusters: Int32s) -> Int64s:
        """Tokens of codes, with what stands between high and low: int64[n, w]."""
        digits = self.prompts.codebook.digits(clusters)
        levels = [tokens[digits[:, at]] for at, tokens in enumerate(self._asked.level_tokens)]
        between = [np.full(clusters.shape[0], token, np.int64) for token in self._asked.infix]
        return np.stack([levels[0], *between, *levels[1:]], axis=1)

    def _logits(self, prompts: list[list[int]], further: Int64s) -> torch.Tensor:
        """Logits after prompts and after each further token: [n, 1 + w, V].

        Prompts of different lengths are padded on their left, so that all end at the same place.
        """
        import torch

        rows = [[*prompt, *more] for prompt, more in zip(prompts, further.tolist(), strict=True)]
        longest = max(map(len, rows))
        n_padding = torch.tensor([longest - len(row) for row in rows], device=self.device)
        tokens = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=self.device)
        more: dict[str, torch.Tensor] = {}
        if n_padding.any():
            places = torch.arange(longest, device=self.device)[None] - n_padding[:, None]
            more = {"attention_mask": (places >= 0).long(), "position_ids": places.clamp_min(0)}
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device == "cuda"):
            output = self._model(input_ids=tokens, use_cache=False, logits_to_keep=1 + further.shape[1], **more)
        logits: torch.Tensor = output.logits
        return logits

    def _answers(self, samples: Samples) -> Int32s:
        book, n_open = self.prompts.codebook, len(self.prompts.codebook.names)
        prompts, rows = self.rendered(samples), np.arange(len(samples))
        no_more = np.zeros((len(samples), 0), np.int64)
        is_closed = np.zeros((len(samples), book.capacity + 1), np.bool_)
        is_closed[:, n_open:] = True
        is_closed[rows, samples.c1], is_closed[rows, samples.c2] = True, True
        is_closed = is_closed[:, :-1]
        first = self._of_level(self._logits(prompts, no_more), 0)
        if book.n_levels == 1:
            best: Int32s = np.where(is_closed, -np.inf, first).argmax(axis=1).astype(np.int32)
            return best
        n_high, n_low = first.shape[1], book.n_low
        is_closed = np.pad(is_closed, ((0, 0), (0, n_high * n_low - book.capacity)), constant_values=True)
        of_high = is_closed.reshape(-1, n_high, n_low)
        high = np.where(of_high.all(axis=2), -np.inf, first).argmax(axis=1)
        tokens = [self._asked.level_tokens[0][high], *(np.full(len(samples), token) for token in self._asked.infix)]
        second = self._of_level(self._logits(prompts, np.stack(tokens, axis=1)), 1)
        low = np.where(of_high[rows, high], -np.inf, second).argmax(axis=1)
        answers: Int32s = (high * n_low + low).astype(np.int32)
        return answers

    def _of_level(self, logits: torch.Tensor, level: int) -> NDArray[np.float32]:
        """Logits of a level's tokens at the last position: float32[n, k]."""
        import torch

        tokens = torch.from_numpy(self._asked.level_tokens[level]).to(logits.device)
        found: NDArray[np.float32] = logits[:, -1].float()[:, tokens].cpu().numpy()
        return found


def open_lora(
    base: Path, names: Sequence[str], *, seed: int, asking: Asking | None = None, recipe: FineTuneRecipe | None = None
) -> LoraLearner:
    """Put a new adapter on a decoder, on a GPU in bf16 where there is one.

    Parameters
    ----------
    base : Path      folder of a causal decoder in Hugging Face format, with the codes in its tokenizer
    names : the catalogue by id, as it was at the flag
    asking : how a model that we did not teach is asked
    recipe : for the adapter's rank and alpha

    Raises
    ------
    ConfigError
        If peft is not installed.
    EngineError
        If the model cannot be read, or its tokenizer has no codes.
    CatalogueError
        If it was taught for another catalogue, or the catalogue outgrew its codes.
    """
    import torch

    asking, recipe = asking or Asking(), recipe or FineTuneRecipe.for_adapter()
    if asking.scoring is not Scoring.CODES:
        raise ConfigError(
            "Adapters are taught to answer in codes, and descriptions were asked for",
            "Leave --scoring out; add the codes to the model's tokenizer first",
            place="--scoring",
        )
    code_model = read_code_model(base, names, asking)
    model = with_adapter(load_decoder(base), recipe, seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return LoraLearner(model.to(device), code_model, base_fingerprint(base), sha256_of_file(base / TOKENIZER))


def load_decoder(base: Path) -> Any:
    """Load a decoder from safetensors alone, running none of its own code: bf16 where there is a GPU, else float32.

    Raises
    ------
    EngineError
        If it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    be_quiet: Callable[[], None] = logging.disable_progress_bar  # of its own, on standard error
    be_quiet()
    try:
        return AutoModelForCausalLM.from_pretrained(
            base,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
            attn_implementation="sdpa",
        )
    except Exception as error:  # the library's errors have no common base
        lines = str(error).strip().splitlines() or [""]
        raise EngineError(
            f"The model cannot be loaded ({type(error).__name__}: {lines[0][:300]})",
            "Name a causal decoder in Hugging Face format with its weights as .safetensors",
            place=str(base),
        ) from None


def with_adapter(model: Any, recipe: FineTuneRecipe, seed: int) -> Any:
    """Add an adapter that changes nothing yet; its random half follows from `seed`.

    Raises
    ------
    ConfigError
        If peft is not installed.
    """
    import torch

    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ConfigError(
            f"peft is not installed, or cannot be imported ({error})",
            "Install it into this environment: pip install 'tidegate[finetune]'",
            place="--kind lora",
        ) from error
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    adapted.train(False)  # there is no dropout: what is taught is what is asked
    return adapted


def _plain(value: Any) -> Any:
    """Give what JSON can say, sets in order."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in sorted(value.items())}
    if isinstance(value, set | frozenset):
        return sorted(_plain(each) for each in value)
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
