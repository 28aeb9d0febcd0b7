"""The vLLM engine: a causal decoder in Hugging Face format, in process, on a GPU or on the CPU.

Each `infer` starts with an empty prefix cache and goes through its rows in an order of its own, so that what is
computed together follows from the rows alone. vLLM is imported when an engine is opened: never in a process that runs
Faust.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
import numpy as np

from refresh.engines.adapter import Adapter
from refresh.engines.code_model import Asking, CodeModel, Prompt, read_code_model
from refresh.engines.code_scoring import SharedTokens, TokenScores, score_in_parts
from refresh.engines.contract import Answers, Usage
from refresh.prompts import PromptBuilder, RowContexts
from tidegate.errors import ConfigError, EngineError

N_LOGPROBS = 256
_ROWS_AT_ONCE = 8_192  # vLLM keeps the outputs of a call until its end
_LONGEST_PROMPT = 2_048  # tokens; a model's own limit may reserve more memory than there is
_CPU_BLOCK = 16  # tokens whose keys and values are shared or not; vLLM's own default there is longer than our prompts
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, that vLLM makes room for
_NUMBER_OF_ADAPTER: dict[str, int] = {}  # by fingerprint, in this process: vLLM caches by it
# What changes the arithmetic, and with it what equal prompts are answered with.
_ANSWERING = ("dtype", "quantization", "kv_cache_dtype", "hf_overrides", "max_model_len")
# Defaults: no process beside this one, no telemetry, nothing on standard output, a GiB for keys and values on a CPU.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}


class _Logprobs(Protocol):
    token_ids: list[int]
    logprobs: list[float]


class _Completion(Protocol):
    token_ids: Sequence[int]
    logprobs: _Logprobs | None


class _Output(Protocol):
    prompt_token_ids: Sequence[int] | None
    num_cached_tokens: int | None
    outputs: list[_Completion]


class _LLM(Protocol):
    """What is used of ``vllm.LLM``."""

    def generate(
        self, prompts: Any, sampling_params: Any, *, use_tqdm: bool, lora_request: Any = None
    ) -> list[_Output]: ...

    def reset_prefix_cache(self) -> object: ...

    @property
    def llm_engine(self) -> Any: ...


class VllmEngine:
    """Answers with the likeliest codes that are allowed, one prefill a row, or freely.

    Parameters
    ----------
    folder : Path
        A model that `refresh.training.train_model` wrote, or another in Hugging Face format with ``tokenizer.json``.
    names : the catalogue's clusters by id
    asking : how a model that we did not teach is asked
    options : arguments of ``vllm.LLM`` that override ours, e.g. ``{"tensor_parallel_size": 2}``
    adapter : Adapter, optional
        To begin with. Others can be taken later where room was made for adapters: by one that is given here, or by
        ``{"enable_lora": True}`` among the options.
    n_logprobs : int
        Tokens whose probabilities are returned. Label mass leaves out what lies beyond them; ranks never do.

    Raises
    ------
    ConfigError
        If vLLM is not installed, or does not know an option.
    EngineError
        If the model cannot be loaded, or its tokenizer has no codes.
    CatalogueError
        If the model was taught for another catalogue, or the catalogue outgrew its codes.
    """

    name = "vllm"
    is_restrictable = True

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        asking: Asking | None = None,
        options: Mapping[str, Any] | None = None,
        adapter: Adapter | None = None,
        n_logprobs: int = N_LOGPROBS,
    ) -> None:
        self._model = read_code_model(folder, names, asking)
        options = _with_room(options or {}, adapter)
        self._base_fingerprint = self.fingerprint = _fingerprint(self._model, options)
        self._max_rank = int(options["max_lora_rank"]) if options.get("enable_lora") else 0
        self._lora: Any = None
        self._n_logprobs = min(n_logprobs, self._model.n_vocabulary or n_logprobs)
        self._ends = _end_tokens(folder, self._model)
        self._llm, self._sampling = _load(folder, self._model, self._n_logprobs, options)
        if adapter is not None:
            self.take(adapter)

    @property
    def prompts(self) -> PromptBuilder:
        """How rows are asked."""
        return self._model.prompts

    def grow(self, names: Sequence[str]) -> None:
        """Take the catalogue as it is now."""
        self._model = self._model.grown(names)

    def take(self, adapter: Adapter | None) -> None:
        """Answer with another adapter from now on, or with the base alone; nothing is loaded anew but the adapter.

        Raises
        ------
        EngineError
            If no room was made for adapters of its rank, or vLLM cannot load it.
        """
        lora = None if adapter is None else self._loaded(adapter)
        self._lora = lora
        self.fingerprint = self._base_fingerprint if adapter is None else adapter.on(self._base_fingerprint)

    def _loaded(self, adapter: Adapter) -> Any:
        """Load an adapter, under a name, number and path that are its own for ever."""
        from vllm.lora.request import LoRARequest

        if adapter.rank > self._max_rank:
            raise EngineError(
                f"The engine has room for adapters of rank {self._max_rank}, this one has {adapter.rank}",
                f"Open it with --engine-options enable_lora=true max_lora_rank={_room_for(adapter.rank)}",
                place=str(adapter.folder),
            )
        number = _NUMBER_OF_ADAPTER.setdefault(adapter.fingerprint, len(_NUMBER_OF_ADAPTER) + 1)
        lora = LoRARequest(adapter.name, number, str(adapter.folder.resolve()))
        try:
            self._llm.llm_engine.add_lora(lora)
        except Exception as error:  # vLLM's errors have no common base
            raise EngineError(
                f"vLLM cannot load the adapter ({_first_line(error)})",
                "Train it on this base, on modules that vLLM puts adapters on",
                place=str(adapter.folder),
            ) from error
        return lora

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        """Answer rows in the order in which neighbours share prefixes."""
        self._llm.reset_prefix_cache()
        return score_in_parts(self, self._model, contexts, top_n, _ROWS_AT_ONCE, on_progress)

    def score(self, prompts: Sequence[Prompt], allowed: Sequence[SharedTokens]) -> TokenScores:
        """Prefill prompts and read the scores of the next token."""
        made: dict[int, Any] = {}
        for tokens in allowed:
            made.setdefault(id(tokens), self._sampling_of(tokens))
        outputs = self._generate(prompts, [made[id(tokens)] for tokens in allowed])
        found = [output.outputs[0].logprobs for output in outputs]
        width = max((len(each.token_ids) for each in found if each), default=0)
        tokens_of = np.full((len(outputs), width), -1, np.int64)
        logprobs = np.full((len(outputs), width), -np.inf, np.float32)
        for row, each in enumerate(found):
            if each is not None:
                n = len(each.token_ids)
                tokens_of[row, :n], logprobs[row, :n] = each.token_ids, each.logprobs
        return TokenScores(tokens_of, logprobs, _usage(outputs))

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Continue prompts freely."""
        tokenizer = self._model.tokenizer
        assert tokenizer is not None  # read_code_model has read it
        free = self._sampling(temperature=0.0, max_tokens=max_tokens, detokenize=False, stop_token_ids=self._ends)
        outputs = self._generate(self._model.tokenised(prompts), [free] * len(prompts))
        return [tokenizer.decode(self._until_end(output)) for output in outputs]

    def _until_end(self, output: _Output) -> list[int]:
        tokens = list(output.outputs[0].token_ids)
        return tokens[: next((at for at, token in enumerate(tokens) if token in self._ends), len(tokens))]

    def _sampling_of(self, allowed: SharedTokens) -> Any:
        sampling = self._sampling(
            temperature=0.0, max_tokens=1, logprobs=self._n_logprobs, flat_logprobs=True, detokenize=False
        )
        sampling.allowed_token_ids = allowed  # as it is: the constructor might copy it
        return sampling

    def _generate(self, prompts: Sequence[Prompt], sampling: Sequence[Any]) -> list[_Output]:
        if not prompts:
            return []
        try:
            return self._llm.generate(
                [{"prompt_token_ids": list(prompt)} for prompt in prompts],
                list(sampling),
                use_tqdm=False,
                lora_request=self._lora,
            )
        except Exception as error:  # vLLM's errors have no common base
            raise EngineError(
                f"vLLM failed while it answered ({_first_line(error)})",
                "See vLLM's own messages (VLLM_LOGGING_LEVEL=INFO); with less memory, give fewer rows or a shorter "
                "max_model_len with --engine-options",
                place="--engine vllm",
            ) from error


def _with_room(options: Mapping[str, Any], adapter: Adapter | None) -> dict[str, Any]:
    """Make room for one adapter at a time where one is given, or adapters are allowed; more where it is asked for."""
    if adapter is None and not options.get("enable_lora"):
        return dict(options)
    rank = _room_for(adapter.rank if adapter else _RANKS[2])
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank, **options}


def _room_for(rank: int) -> int:
    return next((room for room in _RANKS if room >= rank), _RANKS[-1])


def _usage(outputs: Sequence[_Output]) -> Usage:
    return Usage(
        n_prompts=len(outputs),
        n_prompt_tokens=sum(len(output.prompt_token_ids or ()) for output in outputs),
        n_cached_tokens=sum(output.num_cached_tokens or 0 for output in outputs),
        n_output_tokens=sum(len(output.outputs[0].token_ids) for output in outputs),
    )


def _fingerprint(model: CodeModel, options: Mapping[str, Any]) -> str:
    """Fingerprint of the model, and of options that change its arithmetic."""
    changed = {name: str(options[name]) for name in _ANSWERING if name in options}
    if not changed:
        return model.fingerprint
    return hashlib.sha256(f"{model.fingerprint}\n{msgspec.json.encode(changed).decode()}".encode()).hexdigest()


def _end_tokens(folder: Path, model: CodeModel) -> list[int]:
    """Tokens that end an answer: those for generation, or else the model's."""
    try:
        generation = msgspec.json.decode((folder / "generation_config.json").read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        generation = {}
    found = generation.get("eos_token_id", model.text_config.get("eos_token_id"))
    tokens = found if isinstance(found, list) else [found]
    return [token for token in tokens if isinstance(token, int)]


def _load(
    folder: Path, model: CodeModel, n_logprobs: int, options: Mapping[str, Any]
) -> tuple[_LLM, Callable[..., Any]]:
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    try:
        from vllm import LLM, SamplingParams
        from vllm.platforms import current_platform
    except ImportError as error:
        raise ConfigError(
            f"vLLM is not installed, or cannot be imported ({_first_line(error)})",
            "Install it into this environment: pip install 'tidegate[vllm]'; or ask a server with --engine openai",
            place="--engine vllm",
        ) from error
    arguments = _arguments(folder, model, n_logprobs, is_cpu=current_platform.is_cpu()) | dict(options)
    try:
        return cast(_LLM, LLM(**arguments)), SamplingParams
    except TypeError as error:
        raise ConfigError(
            f"vLLM does not take these options ({_first_line(error)})",
            "Give arguments of vllm.LLM as NAME=VALUE",
            place="--engine-options",
        ) from error
    except Exception as error:  # vLLM's errors have no common base
        raise EngineError(
            f"vLLM cannot load the model ({_first_line(error)})",
            "See vLLM's own messages (VLLM_LOGGING_LEVEL=INFO); give it other arguments with --engine-options",
            place=str(folder),
        ) from error


def _arguments(folder: Path, model: CodeModel, n_logprobs: int, *, is_cpu: bool) -> dict[str, Any]:
    """Arguments of ``vllm.LLM``: token ids in and out, raw probabilities, prefixes cached."""
    positions = model.text_config.get("max_position_embeddings", _LONGEST_PROMPT)
    return {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        # Our models are small and exact: no halving of what they were taught in.
        "dtype": "float32" if model.vocabulary is not None else "auto",
        "max_model_len": min(int(positions), _LONGEST_PROMPT),
        "max_logprobs": n_logprobs,
        "logprobs_mode": "raw_logprobs",
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
        **({"enforce_eager": True, "block_size": _CPU_BLOCK} if is_cpu else {}),
    }


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
