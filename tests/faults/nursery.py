"""Real worker processes that start in a fraction of a second.

A worker imports and loads kernels for seconds before it works; a hundred kills would be a hundred of those waits. The
nursery is a process that has done both once and forks workers: it opens no client, no database and no thread of its
own, so that a fork is as good as a start. It ends its children when the harness goes away.

Jobs come as JSON lines; answers are ``started KEY PID`` and ``ended KEY CODE``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self

# Threads do not survive a fork: whatever would start some at import is told not to.
_ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_READY_SECONDS = 300.0  # kernels that were never compiled on this machine take minutes
_ANSWER_SECONDS = 60.0
_REAP_SECONDS = 0.02


class NurseryError(Exception):
    """The nursery, or a process of it, did not answer in time."""


class Member:
    """A process of the nursery.

    Attributes
    ----------
    pid : int
    code : int | None     how it ended, negative for a signal; None while it lives
    """

    def __init__(self, key: str, log: Path) -> None:
        self.key, self.log = key, log
        self.pid = 0
        self.code: int | None = None
        self.started, self.ended = threading.Event(), threading.Event()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return not self.ended.is_set()

    @property
    def is_stopped(self) -> bool:
        """Whether it is halted by SIGSTOP."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came in time."""
        return self.ended.wait(seconds)

    def kill(self) -> None:
        """End it without a chance to tidy up, halted or not."""
        self.send(signal.SIGKILL)
        if not self.wait(_ANSWER_SECONDS):
            raise NurseryError(f"{self.key} ({self.pid}) outlived SIGKILL")


class Starter(Protocol):
    """Whatever starts commands of ``tidegate`` as processes of their own."""

    def start(self, args: list[str], *, control: str | None = None, ambush: Path | None = None) -> Member:
        """Start one; a cold start knows neither controls nor ambushes."""
        ...


class Nursery:
    """The harness's side: starts the nursery, has it fork, and hears of ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "nursery.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=Path(__file__).resolve().parents[2],
                env={**os.environ, **_ONE_THREAD},
                text=True,
            )
        self._members: dict[str, Member] = {}
        self._lock = threading.Lock()
        self._is_ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        if not self._is_ready.wait(_READY_SECONDS):
            raise NurseryError((self._folder / "nursery.log").read_text())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # it ends its children, and itself
        self._process.wait(_ANSWER_SECONDS)
        self._listener.join(_ANSWER_SECONDS)
        self._process.stdout.close()

    def start(self, args: list[str], *, control: str | None = None, ambush: Path | None = None) -> Member:
        """Start a command of ``tidegate`` as a process of its own.

        Parameters
        ----------
        control : which of `tests.faults.wrong` it is, if it is wrong on purpose
        ambush : file of its `tests.faults.ambush.Ambush`
        """
        assert self._process.stdin is not None
        with self._lock:  # sieges may go on side by side
            key = f"{args[0]}-{len(self._members)}"
            member = self._members[key] = Member(key, self._folder / f"{key}.log")
            job = {"key": key, "args": args, "log": str(member.log), "control": control}
            self._process.stdin.write(json.dumps(job | {"ambush": str(ambush) if ambush else None}) + "\n")
            self._process.stdin.flush()
        if not member.started.wait(_ANSWER_SECONDS):
            raise NurseryError(f"{key} was not started\n{(self._folder / 'nursery.log').read_text()}")
        return member

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, *rest = line.split()
            if word == "ready":
                self._is_ready.set()
                continue
            member = self._members[rest[0]]
            if word == "started":
                member.pid = int(rest[1])
                member.started.set()
            else:
                member.code = int(rest[1])
                member.ended.set()


def serve() -> None:
    """Fork what is asked for until standard input ends. A forked child never comes back from here."""
    _load()
    children: dict[int, str] = {}
    _say("ready")
    rest = b""
    try:
        while True:
            if select.select([0], [], [], _REAP_SECONDS)[0]:
                read = os.read(0, 1 << 16)
                if not read:
                    return
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    _fork(json.loads(line), children)
            _reap(children)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def _load() -> None:
    """Do what every worker would do at its start, as far as it neither opens anything nor starts threads."""
    from stream.decoding.columns import DecodeOptions
    from stream.decoding.engagement import PositiveRule
    from stream.decoding.messages import MessageDecoder
    from stream.sequences import SequenceOptions
    from stream.warm_up import load_kernels
    from tests.faults.watches import FLAGS, RULES
    from tidegate.cli import evaluator, worker  # noqa: F401
    from tidegate.clock import SystemClock

    decoding = DecodeOptions(positive=PositiveRule.parse(str(FLAGS["positive"])))
    sequences = SequenceOptions(RULES.pane_ms, RULES.window_ms, gap_ms=RULES.gap_ms)
    load_kernels(MessageDecoder(decoding, SystemClock(), explains_all=True).decode, decoding, sequences)
    if threading.active_count() > 1:
        raise NurseryError(f"there are threads already: {threading.enumerate()}")


def _fork(job: dict[str, Any], children: dict[int, str]) -> None:
    pid = os.fork()
    if not pid:
        _become(job)
    children[pid] = job["key"]
    _say(f"started {job['key']} {pid}")


def _become(job: dict[str, Any]) -> None:
    """Be a worker, and end."""
    code = 70
    try:
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for mine, instead in ((0, nothing), (1, log), (2, log)):
            os.dup2(instead, mine)
        code = _work(job)
    except BaseException:  # nothing may come back from here into the nursery
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _work(job: dict[str, Any]) -> int:
    from tests.faults.ambush import Ambush, watch_writes
    from tests.faults.witness import tell_turns_of_fate
    from tests.faults.wrong import CONTROLS
    from tidegate.cli.errors import run_cleanly
    from tidegate.cli.main import cli

    if job["ambush"]:
        watch_writes(Ambush(Path(job["ambush"])))
    if job["control"]:
        CONTROLS[job["control"]]()
    tell_turns_of_fate()
    return run_cleanly(cli, ["--debug", *job["args"]], debug=True)


def _reap(children: dict[int, str]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        _say(f"ended {children.pop(pid)} {os.waitstatus_to_exitcode(status)}")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    serve()
