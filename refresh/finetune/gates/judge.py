"""The judge of a fine-tune: its folder and record become a trial (`refresh.finetune.runner.Judge`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from refresh.engines import Engine
from refresh.finetune.curation import CuratedSamples
from refresh.finetune.gates.bounds import CandidateBounds
from refresh.finetune.gates.judging import Gate, judge_candidate
from refresh.finetune.gates.labelled import Labelled
from refresh.finetune.gates.trial import Expected, Sampled, Trial
from refresh.finetune.runner import Job
from refresh.finetune.samples_folder import read_samples
from refresh.finetune.user_groups import PARTS, TAUGHT, TEST, VALIDATION
from refresh.prompts import RowContexts
from tidegate.contracts import FineTune, GateVerdict
from tidegate.errors import FineTuneError
from tidegate.files import write_atomically

VERDICTS = "verdicts.json"


@dataclass(frozen=True, slots=True)
class CandidateJudge:
    """Judges the candidate of a job; writes what was said to ``gates/verdicts.json`` as well.

    Attributes
    ----------
    names : sequence of str        the catalogue's clusters by id, as it is now
    pane_ms : int                  of the run
    base_of : callable             folder of the weights that serve a record's run now, None where none do; of an
                                   adapter's base where adapters are put on one
    open_candidate : callable      opens a candidate's folder as an engine
    open_serving : callable or None    opens what serves
    bounds : CandidateBounds
    more_gates : gates of one's own, by name
    """

    names: Sequence[str]
    pane_ms: int
    base_of: Callable[[FineTune], Path | None]
    open_candidate: Callable[[Path], Engine]
    open_serving: Callable[[], Engine] | None
    bounds: CandidateBounds = field(default_factory=CandidateBounds)
    more_gates: Mapping[str, Gate] = field(default_factory=dict)

    def __call__(self, job: Job) -> tuple[GateVerdict, ...]:
        """Judge.

        Raises
        ------
        FineTuneError
            If the record does not say what the candidate has to be of.
        """
        trial = self._trial(job)
        verdicts = judge_candidate(trial, more_gates=self.more_gates, on_progress=job.on_progress)
        (job.folder / "gates").mkdir(exist_ok=True)
        content = msgspec.json.format(msgspec.json.encode(verdicts), indent=2)
        write_atomically(job.folder / "gates" / VERDICTS, content + b"\n")
        return verdicts

    def _trial(self, job: Job) -> Trial:
        record, folder = job.record, job.folder / "candidate"
        if record.sample_checksum is None or record.candidate_fingerprint is None:
            raise FineTuneError(
                "The record names no samples or no candidate that could be judged",
                "Run it again from the beginning: tidegate finetune run",
                place=record.fine_tune_id,
            )
        expected = Expected(
            base=record.base_fingerprint,
            samples=record.sample_checksum,
            flag_pane=record.flag.window_end_ms // self.pane_ms - 1,
            fingerprint=record.candidate_fingerprint,
        )
        return Trial(
            folder=folder,
            names=self.names,
            expected=expected,
            base_folder=self.base_of(record),
            samples=lambda: sampled(*read_samples(job.folder / "samples")),
            open_candidate=lambda: self.open_candidate(folder),
            open_serving=self.open_serving,
            bounds=self.bounds,
        )


def sampled(curated: CuratedSamples, checksum: str) -> Sampled:
    """Take samples as the gates read them."""
    return Sampled(
        checksum=checksum,
        names=curated.names,
        last_pane=curated.last_pane,
        taught=_labelled(curated, TAUGHT),
        validation=_labelled(curated, VALIDATION),
        test=_labelled(curated, TEST),
    )


def _labelled(curated: CuratedSamples, name: str) -> Labelled:
    rows = np.flatnonzero(curated.part == PARTS.index(name))
    samples = curated.samples[rows]
    contexts = RowContexts(samples.c1, samples.c2, samples.retrieved)
    # The weight of a label's samples is the root of the traffic that each of them stands for.
    return Labelled(contexts, samples.target, curated.bucket[rows], samples.weight.astype(np.float64) ** 2)
