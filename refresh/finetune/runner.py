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
from types import MappingProxyType
from typing import Protocol

from refresh.finetune import lifecycle
from refresh.finetune.book import FineTuneBook, changed, known
from refresh.finetune.lifecycle import Actor
from tidegate.clock import Clock
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus, GateVerdict
from tidegate.errors import ConflictError, FineTuneError, TidegateError

_LOG = logging.getLogger(__name__)
_LOCK = ".lock"
SAMPLES = "samples"
_OF_AN_ATTEMPT = (SAMPLES, "training", "candidate", "gates", "base.json")

OnProgress = Callable[[str, int, int], None]
"""Called with what is being done, the steps done and the most there can be."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a step of the work is given.

    Attributes
    ----------
    record : FineTune      as it is while the step runs
    folder : Path          of the fine-tune: ``samples/``, ``training/`` (checkpoints), ``candidate/``
    should_stop : whether the process is to end, or somebody has decided meanwhile that it is not wanted; asked now and
        then, it reads the store
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


class Runner:
    """Drives fine-tunes as far as a machine may.

    Parameters
    ----------
    book : FineTuneBook
    folder : Path          of all fine-tunes; each has one in it, by its name
    curate, train, judge   the work
    by : str               who does it, for the record
    tell : tells persons that they are needed; what it raises is logged, and they are told at the next run
    should_stop : whether the process is to end; the step in hand is then left as it is, to be gone on with
    on_step : called with the record after each step
    bounds : mapping       of the gates, those that are not the defaults: for the record
    """

    def __init__(
        self,
        book: FineTuneBook,
        folder: Path,
        curate: Curate,
        train: Train,
        judge: Judge,
        clock: Clock,
        *,
        by: str,
        tell: Callable[[FineTune], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[FineTune], None] = lambda _: None,
        on_progress: OnProgress = lambda *_: None,
        bounds: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._book, self._folder, self._clock, self._by = book, folder, clock, by
        self._curate, self._train, self._judge = curate, train, judge
        self._tell, self._should_stop, self._bounds = tell, should_stop, bounds
        self._on_step, self._on_progress = on_step, on_progress

    def run(self, fine_tune_id: str) -> FineTune:
        """Go on from where it is until a person is needed; returns what it is then.

        Raises
        ------
        UnknownFineTuneError
            If there is no such fine-tune.
        ConflictError
            If another process works on it, or somebody has changed it meanwhile.
        StoreError
            If the store refuses; the work that was done is found at the next run.
        """
        known(self._book, fine_tune_id)
        with _held(self._folder / fine_tune_id) as folder:
            record = known(self._book, fine_tune_id)
            while record.status is FineTuneStatus.FLAGGED or record.status in lifecycle.WORKING:
                after = None if self._should_stop() else self._advanced(record, folder)
                if after is None:
                    return record
                record = after
                self._on_step(record)
            return self._told(record)

    def _advanced(self, record: FineTune, folder: Path) -> FineTune | None:
        """Take the next step; None where the process is to end before it is done."""
        if record.status is FineTuneStatus.FLAGGED:  # 1
            why = f"attempt {record.attempt}"
            return self._put(lifecycle.take(record, FineTuneAction.BEGIN, self._actor(), why))
        wanted = _Wanted(self._book, record, self._clock)
        job = Job(record, folder, lambda: self._should_stop() or wanted.is_lost(), self._on_progress)
        try:
            after = self._worked(job)
        except ConflictError:
            raise
        except Exception as error:
            if self._should_stop():
                return None
            # Whatever went wrong in the work is a failure of this fine-tune, and recorded.
            problem = str(error) if isinstance(error, TidegateError) else f"{type(error).__name__}: {error}"
            _LOG.warning("%s failed while %s: %s", record.fine_tune_id, record.status, problem, exc_info=error)
            after = lifecycle.failed(record, self._actor(), problem)
        return self._put(after)  # 2

    def _worked(self, job: Job) -> FineTune:
        record = job.record
        if record.status is FineTuneStatus.CURATING:
            make_room(job.folder, record.attempt)
            found = self._curate(job)
            return lifecycle.curated(
                record,
                self._actor(),
                base_fingerprint=found.base_fingerprint,
                sample_checksum=found.sample_checksum,
                numbers=found.numbers,
            )
        if record.status is FineTuneStatus.TRAINING:
            made = self._train(job)
            fingerprint = made.candidate_fingerprint
            return lifecycle.trained(record, self._actor(), candidate_fingerprint=fingerprint, numbers=made.numbers)
        verdicts = self._judge(job)
        if not verdicts:
            raise FineTuneError("no gate has judged the candidate", "Let the gates run", place=record.fine_tune_id)
        return lifecycle.judged(record, self._actor(), verdicts, bounds=self._bounds)

    def _actor(self) -> Actor:
        return Actor(self._by, self._clock.now_ms())

    def _put(self, after: FineTune) -> FineTune:
        if self._book.put(after):
            return after
        found = known(self._book, after.fine_tune_id)
        last = found.steps[-1]
        raise ConflictError(
            f"{last.by} has taken the step {last.action} meanwhile ({last.why}): it is {found.status}",
            "Nothing is to be done; what was worked out is kept in its folder",
            place=after.fine_tune_id,
        )

    def _told(self, record: FineTune) -> FineTune:
        """Tell persons that they are needed, once."""
        is_news = record.n_told_steps < len(record.steps)
        if self._tell is None or record.status not in lifecycle.NEEDS_PERSON or not is_news:
            return record
        try:
            self._tell(record)  # 3
        except TidegateError as error:
            _LOG.warning("persons could not be told of %s: %s", record.fine_tune_id, error)
            return record

        def noted(now: FineTune) -> FineTune:
            return lifecycle.told(now) if len(now.steps) == len(record.steps) else now

        return changed(self._book, record.fine_tune_id, noted)


class _Wanted:
    """Looks every few seconds whether the record is still the one that is being worked on."""

    _LOOK_SECONDS = 5.0

    def __init__(self, book: FineTuneBook, record: FineTune, clock: Clock) -> None:
        self._book, self._record, self._clock = book, record, clock
        self._looked_seconds = clock.monotonic_seconds()
        self._is_lost = False

    def is_lost(self) -> bool:
        """Whether somebody has changed it."""
        now_seconds = self._clock.monotonic_seconds()
        if not self._is_lost and now_seconds - self._looked_seconds >= self._LOOK_SECONDS:
            self._looked_seconds = now_seconds
            try:
                found = self._book.get(self._record.fine_tune_id)
            except TidegateError:  # the store is away: hours of work are not thrown away for that
                return False
            self._is_lost = found is None or found.revision != self._record.revision
        return self._is_lost


def make_room(folder: Path, attempt: int) -> None:
    """Put what the attempt before made into a folder of its own (``attempt-N``); doing it again changes nothing."""
    if attempt == 1 or (folder / f"attempt-{attempt - 1}").exists():
        return
    partial = folder / f"attempt-{attempt - 1}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    for name in _OF_AN_ATTEMPT:
        if (folder / name).exists():
            (folder / name).rename(partial / name)
    partial.rename(folder / f"attempt-{attempt - 1}")


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """Hold the folder of a fine-tune, against other processes that would work on it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise FineTuneError(
            f"its folder cannot be written: {error.strerror}", "Free space or mend its permissions", place=str(folder)
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                "another process works on it", "Wait until it is done, or end it", place=folder.name
            ) from None
        yield folder
    finally:
        os.close(descriptor)
