"""A client of ``/v1/completions``: patient where waiting may help, clear where it cannot.

Connection errors, timeouts, 408, 425, 429 and 5xx are tried again, with ``Retry-After`` heeded, until patience ends.
Everything else is told at once: what the server said, and what to change.
"""

from __future__ import annotations

import email.utils
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import msgspec
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from tidegate.errors import ConfigError, EngineError, EngineUnavailableError

_RETRIED = {408, 425, 429}
_LONGEST_WAIT_SECONDS = 30.0
_LONGEST_QUOTE = 300
MAX_ANSWER_BYTES = 256 * 2**20
"""Of one answer, which is some hundred KiB; what sends more is not what was asked."""
_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where the server is, and how it is asked.

    Attributes
    ----------
    url : str                  of the API, ``http://host:8000/v1``; without a path, ``/v1`` is meant
    model : str                the server's name for the model; empty = the one that it serves
    api_key : str              sent as a bearer token; in no message
    concurrency : int          requests at once
    rows_per_request : int     prompts in a request
    timeout_seconds : float    for an answer to begin, and again for all of it
    patience_seconds : float   for one request with all its repetitions
    """

    url: str
    model: str = ""
    api_key: str = ""
    concurrency: int = 8
    rows_per_request: int = 32
    timeout_seconds: float = 120.0
    patience_seconds: float = 300.0


class TopLogprobs(msgspec.Struct, frozen=True):
    """Tokens of an answer with their logarithms of probabilities, and the best of each position."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class Choice(msgspec.Struct, frozen=True):
    """One prompt's answer."""

    index: int
    text: str
    logprobs: TopLogprobs | None = None


class PromptTokens(msgspec.Struct, frozen=True):
    """Of the prompt's tokens, those that were not computed anew."""

    cached_tokens: int | None = None


class ServerUsage(msgspec.Struct, frozen=True):
    """What the server counted."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: PromptTokens | None = None


class Completion(msgspec.Struct, frozen=True):
    """An answer of the server, in the order of the prompts."""

    choices: list[Choice]
    usage: ServerUsage | None = None


class ServedModel(msgspec.Struct, frozen=True):
    """A model that the server has; an adapter names the model that it is put on as its parent."""

    id: str
    parent: str | None = None


class ServedModels(msgspec.Struct, frozen=True):
    """The models that the server has."""

    data: list[ServedModel]


class RefusedError(EngineError):
    """The server refuses a request as it is: what was asked for has to change."""


class CompletionsClient:
    """Asks one server; may be used by several threads at once.

    Parameters
    ----------
    options : ServerOptions
    sleep : waits between tries

    Raises
    ------
    ConfigError
        If the URL is none.
    """

    def __init__(self, options: ServerOptions, sleep: Callable[[float], None] = time.sleep) -> None:
        url = _base_url(options.url)
        self.place = str(url.copy_with(username=None, password=None))
        self._options, self._sleep = options, sleep
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {options.api_key}"} if options.api_key else {},
            timeout=httpx.Timeout(options.timeout_seconds, connect=min(10.0, options.timeout_seconds)),
            limits=httpx.Limits(max_connections=options.concurrency),
        )
        # Engines are not closed by those who open them: their connections go with them.
        weakref.finalize(self, self._client.close)

    def models(self) -> list[ServedModel] | None:
        """Name the models that the server has; None where it does not tell.

        Raises
        ------
        EngineError
            If it does not answer, or refuses.
        """
        try:
            served = self._ask("GET", "models", None, ServedModels)
        except RefusedError:
            return None
        return served.data

    def load_adapter(self, name: str, folder: str) -> None:
        """Have the server load an adapter from a folder that it sees; vLLM's API.

        Raises
        ------
        RefusedError
            If it loads none, or not this one.
        EngineUnavailableError
            If it does not answer within patience, or fails at it.
        """
        self._ask_plainly("load_lora_adapter", {"lora_name": name, "lora_path": folder})

    def unload_adapter(self, name: str) -> None:
        """Have the server let go of an adapter; see `load_adapter` for what is raised."""
        self._ask_plainly("unload_lora_adapter", {"lora_name": name})

    def complete(self, body: Mapping[str, Any], n_prompts: int) -> Completion:
        """Ask for the completions of `n_prompts` prompts; the choices come in the prompts' order.

        Raises
        ------
        RefusedError
            If the server refuses the request as it is (400, 404, 413, 422 …).
        EngineUnavailableError
            If it does not answer within patience.
        EngineError
            If it refuses the key, or answers out of contract.
        """
        completion = self._ask("POST", "completions", body, Completion)
        choices = sorted(completion.choices, key=lambda choice: choice.index)
        if [choice.index for choice in choices] != list(range(n_prompts)):
            raise self._out_of_contract(f"{len(choices)} choices that are not one for each of {n_prompts} prompts")
        return msgspec.structs.replace(completion, choices=choices)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, kind: type[_Record]) -> _Record:
        content = None if body is None else msgspec.json.encode(body)
        response = self._retrying(_AgainError)(self._send, method, path, content)
        try:
            return msgspec.json.decode(response, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._out_of_contract(f"{self._quoted(response)} ({error})") from None

    def _ask_plainly(self, path: str, body: Mapping[str, Any]) -> None:
        """Ask for something that is done, or fails for good: its answer is a text."""
        try:
            self._retrying()(self._send, "POST", path, msgspec.json.encode(body))
        except _AgainError as error:
            raise EngineUnavailableError(
                str(error), "See the server's log; what was served before still is", place=self.place
            ) from None

    def _retrying(self, *more: type[Exception]) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type((httpx.TransportError, *more)),
            wait=self._wait,
            stop=self._is_out_of_patience,
            sleep=self._sleep,
            retry_error_callback=self._give_up,
        )

    def _send(self, method: str, path: str, content: bytes | None) -> bytes:
        headers = {} if content is None else {"Content-Type": "application/json"}
        with self._client.stream(method, path, content=content, headers=headers) as response:
            body = self._read(response)
        if response.is_success:
            return body
        found = f"The server answers {response.status_code} ({self._quoted(body)})"
        if response.status_code in _RETRIED or response.status_code >= 500:
            raise _AgainError(found, _retry_after_seconds(response.headers.get("Retry-After")))
        if response.status_code in (401, 403):
            raise EngineError(
                found,
                "Give it the key with --api-key, or in TIDEGATE_API_KEY or TIDEGATE_API_KEY_FILE",
                place=self.place,
            )
        mend = "Check --engine-url and --engine-model; what the server can be asked is in its documentation"
        raise RefusedError(found, mend, place=self.place)

    def _read(self, response: httpx.Response) -> bytes:
        """Read an answer that neither drips in for longer than a request may take nor fills the memory."""
        started, parts, n_bytes = time.monotonic(), list[bytes](), 0
        for part in response.iter_bytes():
            parts.append(part)
            n_bytes += len(part)
            if n_bytes > MAX_ANSWER_BYTES:
                raise self._out_of_contract(f"more than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() - started > self._options.timeout_seconds:
                raise httpx.ReadTimeout("its answer did not end in time", request=response.request)
        return b"".join(parts)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _AgainError) and error.after_seconds is not None:
            return error.after_seconds
        return wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT_SECONDS)(state)

    def _is_out_of_patience(self, state: RetryCallState) -> bool:
        # What was slept counts even where the clock was not asked to pass.
        spent = max(state.idle_for, state.seconds_since_start or 0.0)
        return spent + state.upcoming_sleep > self._options.patience_seconds

    def _give_up(self, state: RetryCallState) -> bytes:
        error = state.outcome.exception() if state.outcome else None
        found = str(error) if isinstance(error, _AgainError) else f"The server does not answer ({_told(error)})"
        raise EngineUnavailableError(
            f"{found}, after {state.attempt_number} tries within {self._options.patience_seconds:g} s",
            "Start the server or wait for it, lower --engine-concurrency, or allow more time with --engine-timeout and "
            "--engine-patience; what is finished is kept",
            place=self.place,
        ) from error

    def _out_of_contract(self, found: str) -> EngineError:
        return EngineError(
            f"The server answered {found}", "Name a server with OpenAI's completions API", place=self.place
        )

    def _quoted(self, content: bytes) -> str:
        """Quote what a server said, in one line without control characters, and never the key."""
        text = content[: 4 * _LONGEST_QUOTE].decode("utf-8", errors="replace")
        if self._options.api_key:
            text = text.replace(self._options.api_key, "***")
        plain = " ".join("".join(each if each.isprintable() else " " for each in text).split())
        return repr(plain if len(plain) <= _LONGEST_QUOTE else f"{plain[:_LONGEST_QUOTE]} …")


class _AgainError(Exception):
    """An answer after which the same request may succeed."""

    def __init__(self, found: str, after_seconds: float | None) -> None:
        super().__init__(found)
        self.after_seconds = after_seconds


def _base_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("It is no URL of a server", "Give one like http://localhost:8000/v1", place="--engine-url")
    return url.copy_with(path=url.path.rstrip("/") + "/") if url.path.strip("/") else url.copy_with(path="/v1/")


def _retry_after_seconds(header: str | None) -> float | None:
    """Read ``Retry-After``, seconds or a date (RFC 9110, 10.2.3); None where it is neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _told(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}" if error is not None and str(error) else type(error).__name__
