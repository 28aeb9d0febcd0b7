"""Processes that start as users start them: an interpreter of their own, imports and kernels and all."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from tests.faults.nursery import Member
from tests.roles import PROGRAM


class ColdStarts:
    """Starts commands of ``tidegate`` by its own program."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._n_started = 0

    def start(self, args: list[str], *, control: str | None = None, ambush: Path | None = None) -> Member:
        """Start one; see `tests.faults.nursery.Starter`."""
        assert control is None
        key = f"{args[0]}-{self._n_started}"
        self._n_started += 1
        member = Member(key, self._folder / f"{key}.log")
        with member.log.open("ab") as log:
            process = subprocess.Popen(
                [*PROGRAM, "--debug", *args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        member.pid = process.pid
        threading.Thread(target=_await, args=(member, process), daemon=True).start()
        return member


def _await(member: Member, process: subprocess.Popen[bytes]) -> None:
    member.code = process.wait()
    member.ended.set()
