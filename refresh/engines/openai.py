"""The engine of any server with OpenAI's ``/v1/completions``: vLLM, or another that returns probabilities.

vLLM takes token ids, and scores what it is asked to: as exact as in process. Others return the best tokens of a prompt
as text. Codes are picked out of them, so a row has as many ranks as codes are among those, and a code has one token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from refresh.engines.adapter import Adapter
from refresh.engines.code_model import Asking, CodeModel, Prompt, read_code_model, served_model
from refresh.engines.code_scoring import SharedTokens, TokenScores, score_in_parts
from refresh.engines.completions import (
    Choice,
    Completion,
    CompletionsClient,
    RefusedError,
    ServedModel,
    ServerOptions,
)
from refresh.engines.contract import Answers, Usage
from refresh.prompts import PromptBuilder, RowContexts
from tidegate.errors import EngineError

# Best tokens of a prompt, the most that a server returns first: vLLM returns 20 unless told otherwise, OpenAI's API 5.
_N_LOGPROBS = (256, 64, 20, 5, 1)
_ROWS_AT_ONCE = 2_048
_DESCRIBE = "ask for descriptions (--scoring description)"
_TOKEN_ID = "token_id:"  # how vLLM names a token by its id


class OpenAIEngine:
    """Answers with codes that a server scores, or freely.

    Parameters
    ----------
    options : ServerOptions
    names : the catalogue's clusters by id
    folder : Path, optional
        The served model's folder, of which the manifest and the tokenizer are read. Without it codes are told by their
        text, and answers are known by the server's name for the model: give new weights a new name.
    asking : how a model that we did not teach is asked
    adapter : Adapter, optional
        To begin with; others can be taken later. The server loads it from its folder, which it must see under the same
        path, unless it has an adapter of that name.
    sleep : waits before a request is repeated

    Raises
    ------
    EngineUnavailableError
        If the server does not answer.
    EngineError
        If it has no such model, another tokenizer, or splits codes.
    CatalogueError
        If the model was taught for another catalogue, or the catalogue outgrew its codes.
    """

    name = "openai"

    def __init__(
        self,
        options: ServerOptions,
        names: Sequence[str],
        *,
        folder: Path | None = None,
        asking: Asking | None = None,
        adapter: Adapter | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = CompletionsClient(options, sleep)
        self._base_name = self._served_name(options.model)
        self._options = replace(options, model=self._base_name)
        self._model = (
            served_model(self._options.model, names, asking or Asking())
            if folder is None
            else read_code_model(folder, names, asking)
        )
        self.fingerprint = self._model.fingerprint
        self._adapter: Adapter | None = None
        self._columns = {text: column for column, text in enumerate(self._model.prompts.codebook.levels[0])}
        self.is_restrictable = folder is not None and self._takes_token_ids()
        if self._model.level_tokens and self.is_restrictable:
            self._check_tokens()
        elif self._model.level_tokens:
            self._model = _told_by_text(self._model, self._client.place)
            self._check_codes()
        self._n_logprobs = self._most_logprobs() if self._model.level_tokens else 0
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
        """Answer with another adapter from now on, or with the base alone; the server goes on serving all the while.

        Raises
        ------
        EngineError
            If the server cannot load it.
        EngineUnavailableError
            If it does not answer.
        """
        if adapter is not None:
            self._require_loaded(adapter)
        self._adapter = adapter
        self._options = replace(self._options, model=self._base_name if adapter is None else adapter.name)
        base = self._model.fingerprint
        self.fingerprint = base if adapter is None else adapter.on(base)

    def forget(self, adapter: Adapter) -> None:
        """Have the server let go of an adapter that answers no more, if it has it."""
        if adapter.name in {model.id for model in self._client.models() or ()} and adapter != self._adapter:
            self._client.unload_adapter(adapter.name)

    def _require_loaded(self, adapter: Adapter) -> None:
        """Have the server load an adapter that it does not have: it has forgotten all when it was started anew."""
        if adapter.name in {model.id for model in self._client.models() or ()}:
            return
        try:
            self._client.load_adapter(adapter.name, str(adapter.folder.resolve()))
        except RefusedError as error:
            raise EngineError(
                f"The server does not load the adapter {adapter.name}: {error.found}",
                "Start vLLM's server with --enable-lora, --max-lora-rank and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, where "
                f"it sees {adapter.folder}; or load the adapter under this name by hand",
                place=self._client.place,
            ) from None

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        """Answer rows; several requests are on their way at once."""
        if self._adapter is not None:
            self._require_loaded(self._adapter)
        return score_in_parts(self, self._model, contexts, top_n, _ROWS_AT_ONCE, on_progress)

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Continue prompts freely."""
        batches = [list(prompts[at : at + self._width]) for at in range(0, len(prompts), self._width)]
        completions = self._all([self._body(batch, max_tokens=max_tokens) for batch in batches])
        return [choice.text for completion in completions for choice in completion.choices]

    def score(self, prompts: Sequence[Prompt], allowed: Sequence[SharedTokens]) -> TokenScores:
        """Ask for the scores of the token after each prompt."""
        bodies = []
        for rows in _alike(allowed, self._width):
            asked = [prompts[row] for row in rows]
            extra = {"allowed_token_ids": list(allowed[rows[0]])} if self.is_restrictable else {}
            bodies.append(self._scored(asked, self._n_logprobs, **extra))
        completions = self._all(bodies)
        found = [self._scores_of(choice) for completion in completions for choice in completion.choices]
        width = max((len(each) for each in found), default=0)
        tokens = np.full((len(found), width), -1, np.int64)
        logprobs = np.full((len(found), width), -np.inf, np.float32)
        for row, each in enumerate(found):
            tokens[row, : len(each)], logprobs[row, : len(each)] = list(each), list(each.values())
        return TokenScores(tokens, logprobs, sum((_usage(each) for each in completions), Usage()))

    @property
    def _width(self) -> int:
        return self._options.rows_per_request

    def _all(self, bodies: Sequence[dict[str, Any]]) -> list[Completion]:
        """Answers to all requests, in their order."""
        with ThreadPoolExecutor(self._options.concurrency) as pool:
            asked = [pool.submit(self._client.complete, body, len(body["prompt"])) for body in bodies]
            try:
                return [each.result() for each in asked]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # none of the others is worth waiting for
                raise

    def _body(self, prompts: Sequence[Prompt], **more: Any) -> dict[str, Any]:
        return {"model": self._options.model, "prompt": prompts, "temperature": 0, **more}

    def _scored(self, prompts: Sequence[Prompt], n_logprobs: int, **more: Any) -> dict[str, Any]:
        by_id = {"return_tokens_as_token_ids": True} if self.is_restrictable else {}
        return self._body(prompts, max_tokens=1, logprobs=n_logprobs, **by_id, **more)

    def _scores_of(self, choice: Choice) -> dict[int, float]:
        """Scores by token id or, where tokens come as text, by the code's number; other tokens are left out."""
        said = choice.logprobs
        if said is None or not said.tokens or not said.token_logprobs:
            raise EngineError(
                "The server returns no probabilities",
                f"Use a server that returns logprobs of completions, or {_DESCRIBE}",
                place=self._client.place,
            )
        best = (said.top_logprobs[0] if said.top_logprobs else None) or {}
        chosen = said.token_logprobs[0]
        scores = best if chosen is None else {**best, said.tokens[0]: chosen}
        found: dict[int, float] = {}
        for text, logprob in scores.items():
            token = self._token_of(text)
            if token is not None:  # several spellings of a code, with a space and without: the likeliest counts
                found[token] = max(min(logprob, 0.0), found.get(token, -np.inf))
        return found

    def _token_of(self, text: str) -> int | None:
        if not self.is_restrictable:
            return self._columns.get(text.strip())
        number = text.removeprefix(_TOKEN_ID)
        return int(number) if number.isascii() and number.isdigit() else None

    def _served_name(self, wanted: str) -> str:
        models = self._client.models()
        served = None if models is None else [model.id for model in models]
        whole = _whole(models) or served or []
        if wanted and (served is None or wanted in served):
            return wanted
        if len(whole) == 1 and not wanted:
            return whole[0]
        has = "does not tell which models it has" if served is None else f"has {', '.join(served[:20]) or 'no model'}"
        raise EngineError(
            f"The server {has}, and {f'{wanted!r} was asked for' if wanted else 'none was named'}",
            "Name one of them with --engine-model",
            place=self._client.place,
        )

    def _example(self) -> Prompt:
        """Render a prompt that any catalogue has."""
        none, first = np.full(1, -1, np.int32), np.zeros(1, np.int32)
        return self._model.rendered(RowContexts(none, first, none[:, None]))[0]

    def _takes_token_ids(self) -> bool:
        """Tell whether the server is told, and tells, token ids; and whether it heeds those that are allowed."""
        if not self._model.level_tokens:
            return False
        wanted = int(self._model.level_tokens[0][0])
        body = self._body(
            [self._example()],
            max_tokens=1,
            logprobs=1,
            allowed_token_ids=[wanted],
            return_tokens_as_token_ids=True,
        )
        try:
            said = self._client.complete(body, 1).choices[0].logprobs
        except RefusedError:
            return False
        return said is not None and said.tokens[:1] == [f"{_TOKEN_ID}{wanted}"]

    def _most_logprobs(self) -> int:
        """Best tokens that the server returns at the most, of those that are worth asking for."""
        # vLLM's server breaks down where it is asked for more tokens than there are.
        n_tokens = self._model.n_vocabulary or len(self._model.prompts.codebook.names)
        for n_logprobs in sorted({min(each, n_tokens) for each in _N_LOGPROBS}, reverse=True):
            try:
                self._client.complete(self._scored([self._example()], n_logprobs), 1)
            except RefusedError as error:
                refusal = error
            else:
                return n_logprobs
        raise refusal

    def _check_tokens(self) -> None:
        """Refuse a server with another tokenizer than the folder's."""
        example, none = self._example(), np.full(1, -1, np.int32)
        text = self._model.prompts.texts(RowContexts(none, none + 1, none[:, None]))[0]
        usage = self._client.complete(self._body([text], max_tokens=1), 1).usage
        n_theirs = usage.prompt_tokens if usage is not None else len(example)
        for level, tokens in zip(self._model.prompts.codebook.levels, self._model.level_tokens, strict=True):
            for at in (0, len(level) - 1):
                written = self._written(example, int(tokens[at]))
                if written != level[at] or n_theirs != len(example):
                    raise EngineError(
                        f"The server's tokenizer is another than the folder's: it writes {written[:40]!r} for "
                        f"{level[at]}, and reads {n_theirs} tokens in a prompt of {len(example)}",
                        "Name the folder of the model that is served (--model), or serve the model of the folder",
                        place=self._client.place,
                    )

    def _written(self, example: Prompt, token: int) -> str:
        """Text of a token, as the server writes it; nothing where it has no such token."""
        body = self._body([example], max_tokens=1, allowed_token_ids=[token], skip_special_tokens=False)
        try:
            return self._client.complete(body, 1).choices[0].text.strip()
        except RefusedError:
            return ""

    def _check_codes(self) -> None:
        """Refuse a server that reads a code as several tokens, where it counts tokens."""
        codes = self._model.prompts.codebook.codes[: len(self._model.prompts.codebook.names)]
        batches = [codes[at : at + self._width] for at in range(0, len(codes), self._width)]
        completions = self._all([self._body(batch, max_tokens=1) for batch in batches])
        for batch, completion in zip(batches, completions, strict=True):
            n_tokens = completion.usage.prompt_tokens if completion.usage is not None else 0
            if n_tokens > 2 * len(batch):  # one, and one that starts a text
                raise EngineError(
                    f"The server reads {n_tokens} tokens in {len(batch)} codes ({batch[0]} …), one each was required",
                    f"Serve a model that was taught the codes as tokens, or {_DESCRIBE}",
                    place=self._client.place,
                )


def _whole(models: Sequence[ServedModel] | None) -> list[str]:
    """Names of models that are no adapters."""
    return [model.id for model in models or () if model.parent is None]


def _told_by_text(model: CodeModel, place: str) -> CodeModel:
    """Turn a model into one that reads and writes text: its server knows nothing of token ids."""
    if len(model.level_tokens) > 1:
        raise EngineError(
            f"Codes of {model.prompts.codebook.capacity} clusters are two tokens, and the server takes no token ids",
            f"Use vLLM's server, or {_DESCRIBE}",
            place=place,
        )
    capacity = model.prompts.codebook.capacity
    return replace(model, level_tokens=(np.arange(capacity, dtype=np.int64),), vocabulary=None, tokenizer=None)


def _alike(allowed: Sequence[SharedTokens], width: int) -> Iterator[list[int]]:
    """Cut rows into requests: neighbours that share their allowed tokens, at most `width`."""
    rows: list[int] = []
    for row, tokens in enumerate(allowed):
        if rows and (len(rows) == width or tokens is not allowed[rows[0]]):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _usage(completion: Completion) -> Usage:
    usage, n_prompts = completion.usage, len(completion.choices)
    if usage is None:
        return Usage(n_prompts=n_prompts)
    details = usage.prompt_tokens_details
    return Usage(
        n_prompts, usage.prompt_tokens, (details.cached_tokens or 0) if details else 0, usage.completion_tokens or 0
    )
