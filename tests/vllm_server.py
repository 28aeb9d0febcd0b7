"""A real vLLM server on loopback, and a real vLLM in a process of its own: neither is ever imported by the tests."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import httpx

from refresh.engines import Answers
from refresh.engines.adapter import Adapter
from refresh.engines.vllm import VllmEngine
from refresh.prompts import PromptBuilder, RowContexts
from tests.broker import free_ports
from tidegate.errors import TidegateError

_Result = TypeVar("_Result")

START_SECONDS = 300.0  # most of it is imports; CI machines are small and busy
STOP_SECONDS = 20.0
ANSWER_SECONDS = 300.0
API_KEY = "a-key-of-the-tests"
SERVED_NAME = "tidegate-tiny"
MAX_RANK = 8  # of adapters
_PAUSE_SECONDS = 0.1
# Becomes Python with the arguments that follow, and gets SIGTERM once whoever runs the tests is gone, however it went.
_BOUND_TO_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
_LOG_TAIL_LINES = 30
_ARGUMENTS = (
    "--dtype=float32",
    "--enforce-eager",
    "--max-model-len=32",
    "--max-num-seqs=64",
    "--block-size=32",
    "--max-logprobs=256",
    "--generation-config=vllm",
    "--enable-prompt-tokens-details",
    "--disable-uvicorn-access-log",
    "--distributed-executor-backend=uni",  # one process less that imports everything
    "--enable-lora",
    f"--max-lora-rank={MAX_RANK}",
    "--max-loras=1",
)
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
}


class VllmStartError(Exception):
    """The server did not come up; the message ends with the tail of its log."""


class VllmServer:
    """``vllm serve`` with one model; starts while others work, and is waited for where it is asked.

    It is started by its module: the command itself wants a package that is called ``vllm``, not ``vllm-cpu``.

    Parameters
    ----------
    model : Path       folder of the model
    folder : Path      of ``vllm.log``

    Attributes
    ----------
    url : str          of the API
    """

    def __init__(self, model: Path, folder: Path) -> None:
        self._port = free_ports(1)[0]
        self._log_path = folder / "vllm.log"
        self.url = f"http://127.0.0.1:{self._port}/v1"
        command = [
            sys.executable, "-c", _BOUND_TO_PARENT, "-m", "vllm.entrypoints.openai.api_server",
            f"--model={model}", f"--port={self._port}", "--host=127.0.0.1",
            f"--served-model-name={SERVED_NAME}", f"--api-key={API_KEY}", *_ARGUMENTS,
        ]  # fmt: skip
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=os.environ | _ENVIRONMENT | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"},  # or "uni" is not heeded
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        """Wait until it answers.

        Raises
        ------
        VllmStartError
            If it ends or takes too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self._port}/health", timeout=5).is_success:
                    return
            time.sleep(_PAUSE_SECONDS)
        self.stop()
        tail = self._log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        raise VllmStartError("vllm serve did not come up:\n" + "\n".join(tail))

    def stop(self) -> None:
        """End it and the process of its engine."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        # The engine's process is in the group, too.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class VllmProcess:
    """A process that holds `VllmEngine`s by name, and passes on what it is asked; starts at once."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self._pool.submit(_import_vllm)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def open(self, folder: Path, names: Sequence[str], **options: object) -> RemoteEngine:
        """Open an engine there."""
        fingerprint = self.ask(_open, str(folder), list(names), options)
        return RemoteEngine(self, str(folder), fingerprint)

    def ask(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Call a function of a module there; our errors come back as they were raised."""
        result, error = self._pool.submit(_told, function, *arguments).result(ANSWER_SECONDS)
        if error is not None:
            kind, found, mend, place = error
            raise kind(found, mend, place=place)
        return cast(_Result, result)


class VllmHost:
    """A process with vLLM and servers of it, each started once; what is asked for first starts both at the same time.

    Parameters
    ----------
    folder : Path     of logs
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._process: VllmProcess | None = None
        self._engines: dict[Path, RemoteEngine] = {}
        self._servers: dict[Path, VllmServer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, model: Path) -> None:
        """Start the process, and the server of `model`, and wait for neither."""
        if self._process is None:
            self._process = self._stack.enter_context(VllmProcess())
        if model not in self._servers:
            self._servers[model] = self._stack.enter_context(VllmServer(model, self._folder))

    def engine(self, model: Path, names: Sequence[str], **options: object) -> RemoteEngine:
        """`VllmEngine` of a model, opened once: it keeps the catalogue that it was grown to."""
        if self._process is None:
            self._process = self._stack.enter_context(VllmProcess())
        if model not in self._engines:
            room = {"enable_lora": True, "max_lora_rank": MAX_RANK}
            self._engines[model] = self._process.open(model, names, **room, **options)
        return self._engines[model]

    def server(self, model: Path) -> VllmServer:
        """Server of a model, once it answers."""
        self.begin(model)
        self._servers[model].wait()
        return self._servers[model]


class RemoteEngine:
    """The `Engine` of another process."""

    name = "vllm"

    def __init__(self, process: VllmProcess, key: str, fingerprint: str) -> None:
        self._process, self._key, self.fingerprint = process, key, fingerprint

    @property
    def prompts(self) -> PromptBuilder:
        return self._process.ask(_prompts, self._key)

    def grow(self, names: Sequence[str]) -> None:
        self._process.ask(_grow, self._key, list(names))

    def take(self, adapter: Adapter | None) -> None:
        self.fingerprint = self._process.ask(_take, self._key, adapter)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        answers, told = self._process.ask(_infer, self._key, contexts, top_n)
        for n_done in told if on_progress is not None else ():
            on_progress(n_done)
        return answers

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        return self._process.ask(_generate, self._key, list(prompts), max_tokens)


# What runs in the other process.
_ENGINES: dict[str, VllmEngine] = {}


def _import_vllm() -> None:
    os.environ.update(_ENVIRONMENT | {"VLLM_LOGGING_LEVEL": "ERROR"})
    import vllm  # noqa: F401


def _told(function: Callable[..., object], *arguments: object) -> tuple[object, tuple[Any, ...] | None]:
    try:
        return function(*arguments), None
    except TidegateError as error:  # takes its parts to be made again
        return None, (type(error), error.found, error.mend, error.place)


def _open(folder: str, names: list[str], options: dict[str, object]) -> str:
    _ENGINES[folder] = VllmEngine(Path(folder), names, options=options)
    return _ENGINES[folder].fingerprint


def _prompts(key: str) -> PromptBuilder:
    return _ENGINES[key].prompts


def _grow(key: str, names: list[str]) -> None:
    _ENGINES[key].grow(names)


def _take(key: str, adapter: Adapter | None) -> str:
    _ENGINES[key].take(adapter)
    return _ENGINES[key].fingerprint


def _infer(key: str, contexts: RowContexts, top_n: int) -> tuple[Answers, list[int]]:
    told: list[int] = []
    return _ENGINES[key].infer(contexts, top_n=top_n, on_progress=told.append), told


def _generate(key: str, prompts: list[str], max_tokens: int) -> list[str]:
    return _ENGINES[key].generate(prompts, max_tokens)
