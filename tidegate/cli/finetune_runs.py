"""Fine-tunes that are begun over HTTP: each by a process of its own, so that whoever serves goes on serving."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from refresh.finetune.routes import Access
from tidegate.cli.finetuning import Messages
from tidegate.errors import ConfigError
from tidegate.tokens import read_tokens

_LOG = logging.getLogger(__name__)
_COMMAND = "from tidegate.cli.main import main; main()"
_STOP_SECONDS = 30.0


def access_by_tokens(environment: Mapping[str, str] | None = None) -> Access:
    """Read which tokens may decide, and which may only look.

    Raises
    ------
    ConfigError
        If there is none at all, or they cannot be read.
    """
    decide = read_tokens("finetune_tokens", environment)
    read = read_tokens("finetune_read_tokens", environment)
    if decide is None and read is None:
        raise ConfigError(
            "no token is set up, so nobody could be let in",
            "Put one into a file that TIDEGATE_FINETUNE_TOKENS_FILE names",
            place="finetune_tokens",
        )
    return Access(decide, read)


@contextmanager
def started_runs(home: Path, store: str | None, messages: Messages) -> Iterator[Callable[[str], None]]:
    """Yield what begins ``tidegate finetune run`` in a process of its own; those that run are ended at the end.

    What they are in the middle of is gone on with when it is asked for again. Two of one fine-tune do not hurt: the
    second finds the first, and ends.
    """
    running: dict[str, subprocess.Popen[bytes]] = {}

    def start(fine_tune_id: str) -> None:
        for name, process in list(running.items()):
            if process.poll() is not None:
                _LOG.info("finetune run %s ended with exit code %d", name, process.returncode)
                del running[name]
        if fine_tune_id not in running:
            arguments = ["finetune", "run", "--home", str(home), "--", fine_tune_id]
            running[fine_tune_id] = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, *arguments],
                env=os.environ | _environment(store, messages),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    try:
        yield start
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(store: str | None, messages: Messages) -> dict[str, str]:
    """Hand on what may hold a password: not among the arguments, which every user of the machine sees."""
    given = {
        "TIDEGATE_STORE": store,
        "TIDEGATE_WEBHOOK_URL": messages.url,
        "TIDEGATE_WEBHOOK_SECRET_FILE": None if messages.secret_file is None else str(messages.secret_file),
    }
    return {name: value for name, value in given.items() if value is not None}
