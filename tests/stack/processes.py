"""Processes of the stack: each with a log of its own, all of them ended by whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

STOP_SECONDS = 30.0
_LOG_TAIL_LINES = 25


class StackError(Exception):
    """Something of the stack is not as it has to be; the message says what, with the tail of a log where one helps."""


class Processes:
    """Processes by name.

    Parameters
    ----------
    folder : Path      of ``NAME.log``
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.kill()
        for process in self._running.values():
            process.wait(STOP_SECONDS)

    def __len__(self) -> int:
        return len(self._running)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a process."""
        with (self._folder / f"{name}.log").open("ab") as log:
            variables = {**os.environ, **(environment or {})}
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=log, env=variables)

    def check(self) -> None:
        """Make sure that none has failed.

        Raises
        ------
        StackError
            If one has.
        """
        for name, process in self._running.items():
            if process.poll() not in (None, 0):
                raise StackError(f"{name} ended with {process.returncode}\n{self.log_tail(name)}")

    def has_ended(self, name: str) -> bool:
        """Whether a process is over."""
        return self._running[name].poll() is not None

    def stop(self) -> dict[str, tuple[int, float]]:
        """Ask all processes to end (SIGTERM), and return exit code and seconds of each."""
        left = self._running
        self._running = {}
        begun = time.monotonic()
        for process in left.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        codes: dict[str, tuple[int, float]] = {}
        while len(codes) < len(left):
            for name, process in left.items():
                if name not in codes and process.poll() is not None:
                    codes[name] = (process.returncode, time.monotonic() - begun)
                elif name not in codes and time.monotonic() - begun > STOP_SECONDS:
                    process.kill()
            time.sleep(0.02)
        return codes

    def wait_for(self, name: str, url: str, seconds: float) -> None:
        """Wait until a process answers 200.

        Raises
        ------
        StackError
            If it ends before, or does not in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            with suppress(httpx.TransportError):
                if httpx.get(url, timeout=2.0).status_code == httpx.codes.OK:
                    return
            time.sleep(0.2)
        raise StackError(f"{name} did not answer on {url} within {seconds:.0f} s\n{self.log_tail(name)}")

    def log_tail(self, name: str) -> str:
        """Last lines of a log."""
        text = (self._folder / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-_LOG_TAIL_LINES:])
