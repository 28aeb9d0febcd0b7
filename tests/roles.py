"""The roles of a shared run as processes of their own, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from refresh.table_store import TableStore
from stream.database import Database
from stream.ledger import RECORDS, Ledger
from stream.run_reader import run_id_of
from tests.runs import Result, read_records
from tidegate.cli.answering import is_over
from tidegate.config import load_settings
from tidegate.group_config import GroupSettings

PROGRAM = (sys.executable, "-c", "from tidegate.cli.main import main; main()")
STOP_SECONDS = 20.0


class RoleFailedError(Exception):
    """A role ended with another code than 0, or not in time; the message holds the tail of its log."""


@dataclass
class Roles:
    """Processes that share one run.

    Attributes
    ----------
    folder : Path      logs, and the home of all
    settings           flags of all roles, by field name
    """

    folder: Path
    settings: Mapping[str, Any]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.flags = {"home": str(self.home), **self.settings}
        self._stack = ExitStack()
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)
        self._stack.close()

    def start(self, command: str, name: str | None = None, **flags: Any) -> subprocess.Popen[bytes]:
        """Start a role; its log is ``logs/NAME.log``."""
        name = name or command
        log = (self.folder / "logs" / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen(
                [*PROGRAM, "--debug", command, *arguments(self.flags | flags)],
                stdout=log,
                stderr=log,
                env={**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self.processes[name] = process
        return process

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a role without a chance to tidy up."""
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
        process.wait(STOP_SECONDS)

    def wait(self, name: str, seconds: float) -> None:
        """Wait until a role has ended by itself.

        Raises
        ------
        RoleFailedError
            If it fails or takes longer.
        """
        process = self.processes[name]
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise RoleFailedError(f"{name} did not end within {seconds:.0f} s\n{self.log_tail(name)}") from None
        del self.processes[name]
        if code:
            raise RoleFailedError(f"{name} ended with {code}\n{self.log_tail(name)}")

    def log_tail(self, name: str) -> str:
        """Last lines of a role's log."""
        return "\n".join((self.folder / "logs" / f"{name}.log").read_text(errors="replace").splitlines()[-30:])

    @property
    def run_id(self) -> str:
        """Name of the run that these settings give."""
        settings = load_settings(self.flags, None, GroupSettings)
        return run_id_of(settings.source, settings.identity())

    def ledger(self) -> Ledger:
        """Open what the roles have written down; the caller closes it."""
        return Ledger(Database(self.flags.get("store") or self.home / "runs.db"), self.run_id)

    def wait_until_over(self, seconds: float) -> None:
        """Wait until the run has ended and its last pane is recorded, while every role lives.

        Raises
        ------
        RoleFailedError
            If a role dies, or it takes longer.
        """
        deadline = time.monotonic() + seconds
        ledger = self.ledger()
        try:
            while not is_over(ledger):
                for name, process in self.processes.items():
                    if process.poll() not in (None, 0):
                        raise RoleFailedError(f"{name} ended with {process.returncode}\n{self.log_tail(name)}")
                if time.monotonic() > deadline:
                    tails = "\n".join(f"--- {name}\n{self.log_tail(name)}" for name in self.processes)
                    raise RoleFailedError(
                        f"not over within {seconds:.0f} s: {ledger.state()}, {ledger.marks()}\n{tails}"
                    )
                time.sleep(0.2)
        finally:
            ledger.close()

    def result(self) -> Result:
        """Read everything back that a single process must agree with."""
        ledger = self.ledger()
        try:
            last = ledger.last_pane(RECORDS)
            record = msgspec.json.decode(ledger.get(RECORDS, last) or b"{}") if last is not None else {}
            return read_records(ledger, TableStore(self.home / "tables"), record.get("table_version"))
        finally:
            ledger.close()


def arguments(flags: Mapping[str, Any]) -> list[str]:
    """Write flags as a command line."""
    line: list[str] = []
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            line += [part for key, entry in value.items() for part in (flag, f"{key}={entry}")]
        elif value is True:
            line.append(flag)
        elif value is not False and value is not None:
            line += [flag, str(value)]
    return line
