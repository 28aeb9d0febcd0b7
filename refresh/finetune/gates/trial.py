"""One candidate before its gates: all that it is held against, and what engines said of the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from refresh.descriptions import Speaker
from refresh.engines import Answers, Engine
from refresh.finetune.gates.bounds import CandidateBounds
from refresh.finetune.gates.labelled import Labelled
from refresh.prompts import RowContexts
from refresh.validation import Fault, Validation, validate
from tidegate.errors import EngineError
from tidegate.hashing import mix64_array

_TOP_N = 5
_PROBE_SEED = 90
_T = TypeVar("_T")


@runtime_checkable
class SpeakingEngine(Engine, Speaker, Protocol):
    """An engine that answers rows and writes freely: the gates ask both."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the candidate has to be of, by the record of its fine-tune: never by what it says itself.

    Attributes
    ----------
    base : str or None             fingerprint of the weights that training was to begin from; None for a first model
    samples : str                  checksum of the samples that it was to be taught
    flag_pane : int                last pane of the flag's window: samples that end before are stale
    fingerprint : str, optional    of the candidate, as training reported it
    """

    base: str | None
    samples: str
    flag_pane: int
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """The samples of a fine-tune, read from their artefact and verified against it.

    Attributes
    ----------
    checksum : str           of the artefact
    names : tuple of str     the catalogue that its ids are of
    last_pane : int          that samples are of
    taught : Labelled        what the candidate was taught
    validation : Labelled    what training stopped by
    test : Labelled          of users that only the gates ask
    """

    checksum: str
    names: tuple[str, ...]
    last_pane: int
    taught: Labelled
    validation: Labelled
    test: Labelled


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate and all that it is held against.

    Attributes
    ----------
    folder : Path                 of the candidate
    names : sequence of str       the catalogue's clusters by id
    expected : Expected
    base_folder : Path or None    the weights that serve now, and that training began from; None before the first
    samples : callable            reads and verifies the samples: what it raises is a block
    open_candidate : callable     opens the candidate as an engine; called once its files are known to be sound
    open_serving : callable or None    the same of the weights that serve
    bounds : CandidateBounds
    """

    folder: Path
    names: Sequence[str]
    expected: Expected
    base_folder: Path | None
    samples: Callable[[], Sampled]
    open_candidate: Callable[[], Engine]
    open_serving: Callable[[], Engine] | None = None
    bounds: CandidateBounds = field(default_factory=CandidateBounds)


class _once(Generic[_T]):  # noqa: N801  a decorator
    """A property that is computed once an instance.

    `functools.cached_property` of Python 3.11 holds a lock of its class meanwhile: one gate that hangs would hang all.
    """

    def __init__(self, compute: Callable[[Any], _T]) -> None:
        self._compute, self._name = compute, compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> _T:
        found: _T = self._compute(instance)
        instance.__dict__[self._name] = found  # found before this the next time
        return found


class Hearing:
    """What is heard of a trial: each artefact read, and each engine asked, once."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    @_once
    def samples(self) -> Sampled:
        """Read the samples."""
        return self.trial.samples()

    @_once
    def engine(self) -> SpeakingEngine:
        """Open the candidate.

        Raises
        ------
        EngineError
            If it cannot be opened, or writes no text.
        """
        engine = self.trial.open_candidate()
        if not isinstance(engine, SpeakingEngine):
            raise EngineError(
                f"The {engine.name} engine writes no text, and the probe needs free answers",
                "Open the candidate with an engine that generates",
                place=engine.name,
            )
        return engine

    @_once
    def answers(self) -> Answers:
        """Ask the candidate for the test rows."""
        return self.engine.infer(self.samples.test.contexts, top_n=_TOP_N)

    @_once
    def validation(self) -> Validation:
        """Tell which of them are within the contract; a mass that is no number is not."""
        found = validate(self.answers, self.samples.test.contexts, len(self.trial.names), top_n=_TOP_N)
        has_no_mass = found.valid & ~np.isfinite(self.answers.label_mass)
        if not has_no_mass.any():
            return found
        faults = {**found.faults, Fault.LABEL_MASS: found.faults.get(Fault.LABEL_MASS, 0) + int(has_no_mass.sum())}
        return Validation(found.valid & ~has_no_mass, faults)

    @_once
    def first(self) -> NDArray[np.int32]:
        """Take the candidate's best answers, -1 where there is none that is valid: int32[n]."""
        return np.where(self.validation.valid, self.answers.clusters[:, 0], np.int32(-1))

    @_once
    def served_first(self) -> NDArray[np.int32] | None:
        """Take the best answers of the weights that serve to the same rows; None before the first."""
        if self.trial.open_serving is None:
            return None
        contexts = self.samples.test.contexts
        answers = self.trial.open_serving().infer(contexts, top_n=_TOP_N)
        valid = validate(answers, contexts, len(self.trial.names), top_n=_TOP_N).valid
        return np.where(valid, answers.clusters[:, 0], np.int32(-1))

    @_once
    def probe(self) -> RowContexts:
        """Draw rows of the test set that are asked freely: the same for all candidates of these samples.

        Drawn by a hash of what their prompts name, each context once, so that ids and order do not matter.
        """
        contexts, hashes = self.samples.test.contexts, self.engine.prompts.codebook.name_hashes
        drawn = np.full(len(contexts), np.uint64(_PROBE_SEED))
        for column in self.engine.prompts.columns(contexts, hashes.shape[0] - 1).T:
            drawn = mix64_array(drawn ^ hashes[column])
        _, rows = np.unique(drawn, return_index=True)
        return contexts[rows[: self.trial.bounds.n_probes].astype(np.int64)]
