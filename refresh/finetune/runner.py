"""Driving a fine-tune from its flag to a person's review: curate, train, judge, each handed in by whoever does it.

The record says which step is next, so a process that was killed is answered by running again:

1. Move the record on to the step (compare-and-set), then do the step's work in the fine-tune's folder.
2. Move it on with what the work found. A crash before that repeats the work, which finds what it had done before.
3. Tell persons where they are needed; note that they were told. A crash between the two tells them twice.

One process works on a fine-tune at a time: it holds a lock on the folder, which ends with the process. Others that
change the record meanwhile (a person who rejects it) win: the worker's next step is refused, and it stops.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from refresh.finetune import lifecycle
from refresh.finetune.book import FineTuneBook, changed, known
from refresh.finetune.lifecycle import Actor
from tidegate.clock import Clock
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus, GateVerdict
from tidegate.errors import ConflictError, FineTuneError, TidegateError

_LOG = logging.getLogger(__name__)
_LOCK = ".lock"
_OF_AN_ATTEMPT = ("samples", "training", "candidate", "gates")

OnProgress = Callable[[str, int, int], None]
"""Called with what is being done, the steps done and the most there can be."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a step of the work is given.

    Attributes
    ----------
    record : FineTune      as it is while the step runs
    folder : Path          of the fine-tune: ``samples/``, ``training/`` (checkpoints), ``candidate/``, ``gates/``
    should_stop : whether somebody has decided meanwhile that it is not wanted; asked now and then, it reads the store
    """

    record: FineTune
    folder: Path
    should_stop: Callable[[], bool]
    on_progress: OnProgress = lambda *_: None


@dataclass(frozen=True, slots=True)
class Curated:
    """The samples are in ``samples/``, and training begins from weights of this fingerprint (None: from nothing)."""

    sample_checksum: str
    base_fingerprint: str | None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """The candidate is in ``candidate/``."""

    candidate_fingerprint: str
    numbers: Mapping[str, float] = field(default_factory=dict)


class Curate(Protocol):
    """Takes the samples. Called again after a crash, it finds them or takes the same ones."""

    def __call__(self, job: Job) -> Curated:
        """Curate; whatever it raises is recorded as the failure."""
        ...


class Train(Protocol):
    """Trains. Called again after a crash, it goes on from its last checkpoint, or finds the candidate."""

    def __call__(self, job: Job) -> Trained:
        """Train; whatever it raises is recorded as the failure."""
        ...


class Judge(Protocol):
    """Holds the candidate against its gates."""

    def __call__(self, job: Job) -> tuple[GateVerdict, ...]:
        """Judge; whatever it raises is recorded as the failure, never as a pass."""
        ...
