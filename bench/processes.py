"""Commands as processes of their own, with their wall time and peak memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What each of the libraries would otherwise size by the machine's cores, not by those the process may use.
_ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_THREAD_LIMIT"), "1")


class BenchError(Exception):
    """A measured command failed; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process came to.

    Attributes
    ----------
    wall_seconds : float      from before its start to after its end, imports included
    cpu_seconds : float       of all its threads, user and system
    peak_mib : float          largest resident set; never below this process's own, which it is forked from
    output : str              its standard output
    """

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def measure(args: Sequence[str], *, one_core: bool = False, environment: Mapping[str, str] | None = None) -> Measured:
    """Run a command from the project's root and measure it.

    Parameters
    ----------
    one_core : bool      pin it to the first core it may use, with one thread a library

    Raises
    ------
    BenchError
        If it ends with another code than 0.
    """
    variables = {**os.environ, **(_ONE_THREAD if one_core else {}), **(environment or {})}
    started = time.perf_counter()
    with _pinned() if one_core else nullcontext():
        process = subprocess.Popen(
            args, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    output, messages, status, usage = _wait(process)
    wall = time.perf_counter() - started
    if status:
        raise BenchError(f"{' '.join(args)} ended with {status}: {messages.strip()[-2_000:]}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1_024, output)


def python(*args: str) -> list[str]:
    """Command line of this interpreter."""
    return [sys.executable, *args]


def cores() -> str:
    """How many cores this process may use, in words."""
    n = len(os.sched_getaffinity(0))
    return f"{n} core{'s' * (n != 1)}"


@contextmanager
def _pinned() -> Iterator[None]:
    """Pin this process, so that its children are born pinned: their libraries count cores when they are imported."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _wait(process: subprocess.Popen[str]) -> tuple[str, str, int, resource.struct_rusage]:
    """Like `communicate`, but with the resources of this one child."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        output = process.stdout.read()  # both are short: neither fills its pipe while the other is read
        messages = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return output, messages, process.returncode, usage
