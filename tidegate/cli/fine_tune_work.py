"""The work of a fine-tune on a run of the store: samples from its counts, training from its weights, the gates.

Everything follows from the record, the store as it was at the flag, and the weights that served when the samples were
taken, so a step that is done again comes to the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from refresh.engines import Engine, open_engine
from refresh.finetune.candidate import base_fingerprint
from refresh.finetune.curation import CuratedSamples, CurationRecipe, PaneCounts, curate
from refresh.finetune.fine_tuning import CANDIDATE, Lesson, fine_tune
from refresh.finetune.full import FullLearner, open_full
from refresh.finetune.gates.judging import judge_candidate
from refresh.finetune.gates.labelled import Labelled
from refresh.finetune.gates.trial import Expected, Sampled, Trial
from refresh.finetune.recipe import FineTuneRecipe
from refresh.finetune.runner import SAMPLES, Curated, Job, Trained
from refresh.finetune.samples_folder import read_samples, write_samples
from refresh.finetune.user_groups import PARTS, TAUGHT, TEST, VALIDATION
from refresh.prompts import RowContexts
from stream.database import Database
from stream.run_reader import RunReader
from tidegate.cli.engine_settings import template_of
from tidegate.cli.history import reach_panes
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.cli.stream_settings import sequence_options
from tidegate.config import RunSettings, load_settings
from tidegate.contracts import FineTune, GateVerdict
from tidegate.errors import FineTuneError
from tidegate.files import write_atomically

_BASE = "base.json"
_OF_WORKERS = "workers "


class Base(msgspec.Struct, frozen=True):
    """Weights that a fine-tune begins from, noted in its folder when samples are taken. None: there are none."""

    folder: str | None


@dataclass(frozen=True, slots=True)
class FlaggedRun:
    """A run as it was when a fine-tune was flagged."""

    reader: RunReader
    settings: RunSettings
    pane_ms: int
    window_panes: int
    flag: PaneRecord

    @property
    def names(self) -> tuple[str, ...]:
        """Clusters by id that had a name at the flag."""
        return tuple(self.reader.cluster_names()[: self.flag.n_clusters])

    def panes(self) -> list[PaneCounts]:
        """Read the counts of the closed panes that evidence looks at, up to the flag's."""
        known = sorted(self.reader.records())
        first = max(known[0], self.flag.pane - reach_panes(self.window_panes) + 1)
        return [PaneCounts(pane, self.reader.counts(pane, pane)) for pane in range(first, self.flag.pane + 1)]


def flagged_run(database: Database, home: Path, record: FineTune) -> FlaggedRun:
    """Open the run of a fine-tune, with the settings that it is known by.

    Raises
    ------
    FineTuneError
        If the store no longer has it, or the pane that flagged it.
    """
    known = RunReader.known_runs(database)
    if record.run_id not in known:
        raise FineTuneError(
            f"the store no longer has the run {record.run_id}", "Name its store with --store", place=record.fine_tune_id
        )
    source, flags = known[record.run_id]
    given = msgspec.json.decode(flags.removeprefix(_OF_WORKERS), type=dict[str, object])
    settings: RunSettings = load_settings({**given, "source": source, "home": home})
    sequences = sequence_options(settings)
    reader = RunReader(database, record.run_id)
    body = reader.records().get(record.flag.window_end_ms // sequences.pane_ms - 1)
    if body is None:
        raise FineTuneError(
            "the store no longer has the pane that flagged it",
            "Reject it, and wait for the next flag; keep panes longer with --retention",
            place=record.fine_tune_id,
        )
    return FlaggedRun(reader, settings, sequences.pane_ms, sequences.window_panes, decode_record(body))


@dataclass(frozen=True, slots=True)
class FineTuneWork:
    """Curates, trains and judges for `refresh.finetune.runner.Runner`."""

    database: Database
    home: Path
    curation: CurationRecipe = field(default_factory=CurationRecipe)
    recipe: FineTuneRecipe = field(default_factory=FineTuneRecipe)

    def curate(self, job: Job) -> Curated:
        """Take samples of the panes up to the flag's, and settle which weights training begins from."""
        run = flagged_run(self.database, self.home, job.record)
        base = _settled_base(job.folder, run)
        learner = _learner(job, run, base)
        curated = curate(
            run.panes(),
            run.names,
            flag_pane=run.flag.pane,
            window_panes=run.window_panes,
            seed=_seed(job, run),
            recipe=replace(self.curation, n_retrieved=learner.prompts.n_retrieved),
        )
        checksum = write_samples(job.folder / SAMPLES, curated)
        numbers = {f"n_{name}": float((curated.part == at).sum()) for at, name in enumerate(PARTS)}
        return Curated(checksum, learner.base, {**numbers, "first_pane": curated.first_pane, "seed": curated.seed})

    def train(self, job: Job) -> Trained:
        """Train on the samples, from the weights that were settled."""
        run = flagged_run(self.database, self.home, job.record)
        curated, checksum = _own_samples(job)
        learner = _learner(job, run, _noted_base(job.folder))
        lesson = Lesson(learner, curated, checksum, self.recipe, curated.seed)
        made, report = fine_tune(lesson, job.folder, on_progress=job.on_progress, should_stop=job.should_stop)
        numbers = {
            "recall": report.recall,
            "base_recall": report.base_recall,
            "popular_recall": report.popular_recall,
            "chance": report.chance,
            "best_step": report.best_step,
            "seconds": report.seconds,
        }
        return Trained(made.fingerprint, {name: float(n) for name, n in numbers.items() if n is not None})

    def judge(self, job: Job) -> tuple[GateVerdict, ...]:
        """Hold the candidate against its gates."""
        record = job.record
        run = flagged_run(self.database, self.home, record)
        folder = _noted_base(job.folder)
        is_gone_on_with = record.base_fingerprint is not None
        base_folder = folder if is_gone_on_with else None
        opened = partial(_opened, run.names)
        trial = Trial(
            folder=job.folder / CANDIDATE,
            names=run.names,
            expected=Expected(
                base=record.base_fingerprint,
                samples=record.sample_checksum or "",
                flag_pane=run.flag.pane,
                fingerprint=record.candidate_fingerprint,
            ),
            base_folder=base_folder,
            samples=lambda: sampled(job),
            open_candidate=lambda: opened(job.folder / CANDIDATE),
            open_serving=None if base_folder is None else lambda: opened(base_folder),
        )
        return judge_candidate(trial, on_progress=job.on_progress)


def sampled(job: Job) -> Sampled:
    """Read the samples as the gates want them."""
    curated, checksum = read_samples(job.folder / SAMPLES)
    return Sampled(
        checksum=checksum,
        names=curated.names,
        last_pane=curated.last_pane,
        taught=_labelled(curated, TAUGHT),
        validation=_labelled(curated, VALIDATION),
        test=_labelled(curated, TEST),
    )


def _labelled(curated: CuratedSamples, part: str) -> Labelled:
    rows = np.flatnonzero(curated.part == PARTS.index(part))
    samples = curated.samples[rows]
    return Labelled(
        contexts=RowContexts(samples.c1, samples.c2, samples.retrieved),
        targets=samples.target,
        users=curated.bucket[rows],
        traffic=samples.weight.astype(np.float64) ** 2,  # the weight of a label that was capped is a root of it
    )


def _own_samples(job: Job) -> tuple[CuratedSamples, str]:
    curated, checksum = read_samples(job.folder / SAMPLES)
    if checksum != job.record.sample_checksum:
        raise FineTuneError(
            f"the samples are {checksum[:12]}, and {(job.record.sample_checksum or 'none')[:12]} were taken",
            "Reject it and wait for the next flag, or restore its folder",
            place=job.record.fine_tune_id,
        )
    return curated, checksum


def _seed(job: Job, run: FlaggedRun) -> int:
    """Draw anew in each attempt: the same would fail the same."""
    return run.settings.seed + job.record.attempt - 1


def _settled_base(folder: Path, run: FlaggedRun) -> Path | None:
    """Note which weights serve now, once: what is approved meanwhile does not change what this one began from."""
    noted = folder / SAMPLES
    if not (folder / _BASE).exists() or not noted.exists():
        serving = serving_weights(run)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / _BASE, msgspec.json.encode(Base(None if serving is None else str(serving))))
    return _noted_base(folder)


def _noted_base(folder: Path) -> Path | None:
    base = msgspec.json.decode((folder / _BASE).read_bytes(), type=Base)
    return None if base.folder is None else Path(base.folder)


def serving_weights(run: FlaggedRun) -> Path | None:
    """Find the weights that answer now: those of the run's last pane, or those that it was given."""
    bodies = run.reader.records()
    last = decode_record(bodies[max(bodies)])
    return Path(last.model) if last.model else run.settings.model


def _learner(job: Job, run: FlaggedRun, base: Path | None) -> FullLearner:
    if run.settings.engine == "frequency":
        raise FineTuneError(
            "the frequency engine has no weights to tune",
            "Reject it; give the run another --engine",
            place=job.folder.name,
        )
    if base is not None:
        base_fingerprint(base)  # every file is what its manifest says
    return open_full(
        base,
        run.names,
        seed=_seed(job, run),
        template=template_of(run.settings),
        n_retrieved=run.settings.n_retrieved or 1,
    )


def _opened(names: tuple[str, ...], folder: Path) -> Engine:
    return open_engine("embedded", list(names), model_folder=folder)
