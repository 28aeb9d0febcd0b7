"""A run in a process of its own that kills itself, as hard as ``kill -9`` does, at a chosen point of its work."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from tests.runs import run_quietly

# Library code is as good a place to die in as ours, but most of its calls are imports: ours are counted only.
_ROOMS = ("/stream/", "/refresh/", "/monitoring/", "/tidegate/")


def _count_calls(kill_at: int | None, n_calls: list[int]) -> None:
    """Count this process's calls into and out of the project; at number `kill_at`, die without a word."""

    def on_event(frame: FrameType, event: str, _argument: object) -> None:
        if event in ("call", "return") and any(room in frame.f_code.co_filename for room in _ROOMS):
            n_calls[0] += 1
            if n_calls[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(on_event)


def _work(log: str, home: str, flags: dict[str, Any], kill_at: int | None, is_counted: bool, answer: str) -> None:
    n_calls = [0]
    if is_counted or kill_at is not None:
        _count_calls(kill_at, n_calls)
    summary = run_quietly(log, Path(home), **flags)
    sys.setprofile(None)
    Path(answer).write_bytes(msgspec.json.encode([n_calls[0], summary]))


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.killable"])  # imports once, then forks from a clean process
    return context


def run_in_process(
    log: Path, home: Path, answer: Path, flags: dict[str, Any], *, kill_at: int | None = None, is_counted: bool = False
) -> tuple[int, dict[str, Any]] | None:
    """Run; returns the number of calls (0 where they are not counted) and the summary, or None if it was killed."""
    answer.unlink(missing_ok=True)
    process = _context().Process(target=_work, args=(str(log), str(home), flags, kill_at, is_counted, str(answer)))
    process.start()
    process.join(timeout=120)
    if process.exitcode == -signal.SIGKILL:
        return None
    assert process.exitcode == 0, f"the run ended with {process.exitcode}"
    n_calls, summary = msgspec.json.decode(answer.read_bytes())
    return n_calls, summary
