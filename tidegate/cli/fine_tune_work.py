"""The work of a fine-tune on a run of the store: samples from its counts, training from its weights, the gates.

Everything follows from the record, the store as it was at the flag, and the weights that served when the samples were
taken, so a step that is done again comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from monitoring.finetune_report import write_finetune
from refresh.engines import Engine, open_engine
from refresh.engines.adapter import open_adapter
from refresh.engines.model_files import MANIFEST
from refresh.finetune.curation import CurationRecipe, PaneCounts, curate
from refresh.finetune.fine_tuning import TRAINING, Lesson, fine_tune
from refresh.finetune.full import open_full
from refresh.finetune.gates.bounds import CandidateBounds
from refresh.finetune.gates.judge import CandidateJudge
from refresh.finetune.learner import FineTuned
from refresh.finetune.recipe import FineTuneRecipe
from refresh.finetune.runner import SAMPLES, Curated, Job, Trained
from refresh.finetune.samples_folder import read_samples, write_samples
from refresh.finetune.user_groups import PARTS
from refresh.served_weights import ServedWeights, served_weights
from refresh.weights import WeightsStore
from stream.database import Database
from stream.ledger import RECORDS, Ledger
from stream.run_reader import RunReader
from tidegate.cli.engine_settings import asking_of, engine_options, server_options, template_of
from tidegate.cli.history import reach_panes
from tidegate.cli.judged_engines import JudgedEngines
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.cli.stream_settings import sequence_options
from tidegate.config import RunSettings, load_settings
from tidegate.contracts import FineTune, GateVerdict
from tidegate.errors import FineTuneError
from tidegate.files import write_atomically

_BASE = "base.json"
_OF_WORKERS = "workers "


class Kind(StrEnum):
    """Which weights learn."""

    FULL = "full"  # all of the small model that the run trains for itself
    LORA = "lora"  # an adapter of it, or of any causal decoder


class Base(msgspec.Struct, frozen=True):
    """Weights that a fine-tune begins from (None: there are none) and which learn: noted when samples are taken."""

    folder: str | None
    kind: Kind

    @property
    def path(self) -> Path | None:
        """The folder."""
        return None if self.folder is None else Path(self.folder)


@dataclass(frozen=True, slots=True)
class FlaggedRun:
    """A run as it was when a fine-tune was flagged."""

    reader: Ledger
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
        first = self.flag.pane - reach_panes(self.window_panes) + 1
        is_known = [pane for pane in range(first, self.flag.pane + 1) if self.reader.get(RECORDS, pane) is not None]
        return [PaneCounts(pane, self.reader.counts(pane, pane)) for pane in is_known]


def flagged_run(
    database: Database, home: Path, record: FineTune, engine: Mapping[str, object] = MappingProxyType({})
) -> FlaggedRun:
    """Open the run of a fine-tune, with the settings that it is known by.

    Parameters
    ----------
    engine : mapping    settings of how its engine is reached, which a run is not known by; others: environment, default

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
    settings: RunSettings = load_settings({**engine, **given, "source": source, "home": home})
    if settings.engine == "frequency":
        raise FineTuneError(
            "the frequency engine has no weights to tune",
            "Reject it, and give the run another --engine",
            place=record.run_id,
        )
    sequences = sequence_options(settings)
    reader = Ledger(database, record.run_id)
    body = reader.get(RECORDS, record.flag.window_end_ms // sequences.pane_ms - 1)
    if body is None:
        raise FineTuneError(
            "the store no longer has the pane that flagged it",
            "Reject it, and wait for the next flag; keep panes longer with --retention",
            place=record.fine_tune_id,
        )
    return FlaggedRun(reader, settings, sequences.pane_ms, sequences.window_panes, decode_record(body))


@dataclass(frozen=True, slots=True)
class FineTuneWork:
    """Curates, trains and judges for `refresh.finetune.runner.Runner`.

    Attributes
    ----------
    kind : Kind, optional               default: full for a model that we trained, an adapter for others
    curation : CurationRecipe
    recipe : FineTuneRecipe, optional   default: that of the kind
    bounds : CandidateBounds            of the gates
    engine : mapping                    settings of how the engine is reached
    """

    database: Database
    home: Path
    kind: Kind | None = None
    curation: CurationRecipe = field(default_factory=CurationRecipe)
    recipe: FineTuneRecipe | None = None
    bounds: CandidateBounds = field(default_factory=CandidateBounds)
    engine: Mapping[str, object] = field(default_factory=dict)

    def curate(self, job: Job) -> Curated:
        """Take samples of the panes up to the flag's, and settle which weights training begins from."""
        run = self._run(job)
        learner = self._learner(job, run, _settled_base(job.folder, run, self.kind))
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
        run = self._run(job)
        curated, checksum = read_samples(job.folder / SAMPLES)
        if checksum != job.record.sample_checksum:
            raise FineTuneError(
                f"the samples are {checksum[:12]}, and {(job.record.sample_checksum or 'none')[:12]} were taken",
                "Restore its folder, or reject it and wait for the next flag",
                place=job.record.fine_tune_id,
            )
        base = _noted_base(job.folder)
        learner = self._learner(job, run, base)
        lesson = Lesson(learner, curated, checksum, self._recipe(base.kind), curated.seed)
        made, report = fine_tune(lesson, job.folder, on_progress=job.on_progress, should_stop=job.should_stop)
        write_finetune(job.folder / TRAINING / "report.html", report)
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
        """Hold the candidate against its gates, and against the weights that serve now."""
        run = self._run(job)
        # Weights that begin from nothing are of another catalogue than those that serve: the two cannot be compared.
        serving = serving_weights(run) if job.record.base_fingerprint is not None else None
        has_room_for_one = serving is not None and _engine_of(run, serving.base) == "vllm"
        engines = JudgedEngines(lambda weights: _opened(run, weights), serving, has_room_for_one)
        judge = CandidateJudge(
            names=run.names,
            pane_ms=run.pane_ms,
            base_of=lambda _: serving.base if serving else None,
            open_candidate=lambda folder: engines.candidate(_candidate_weights(folder, serving)),
            open_serving=None if serving is None else engines.served,
            bounds=self.bounds,
        )
        return judge(job)

    def _run(self, job: Job) -> FlaggedRun:
        return flagged_run(self.database, self.home, job.record, self.engine)

    def _recipe(self, kind: Kind) -> FineTuneRecipe:
        if self.recipe is not None:
            return self.recipe
        return FineTuneRecipe() if kind is Kind.FULL else FineTuneRecipe.for_adapter()

    def _learner(self, job: Job, run: FlaggedRun, base: Base) -> FineTuned:
        seed, settings = _seed(job, run), run.settings
        if base.kind is Kind.FULL:
            template, n_retrieved = template_of(settings), settings.n_retrieved or 1
            return open_full(base.path, run.names, seed=seed, template=template, n_retrieved=n_retrieved)
        from refresh.finetune.lora import open_lora

        if base.path is None:
            raise FineTuneError(
                "an adapter needs weights to be put on, and none serve yet",
                "Give the run a --model, or let all weights learn (--kind full)",
                place=job.record.fine_tune_id,
            )
        return open_lora(base.path, run.names, seed=seed, asking=asking_of(settings), recipe=self._recipe(base.kind))


def serving_weights(run: FlaggedRun) -> ServedWeights | None:
    """Find the weights that answer now: those that the pointer names, those of the last pane, or those given."""
    store = WeightsStore(run.settings.home / "models" / run.reader.run_id)
    version = store.serving()
    if version is not None:
        return served_weights(store.path(version.version))
    pane = run.reader.last_pane(RECORDS)
    body = None if pane is None else run.reader.get(RECORDS, pane)
    model = None if body is None else decode_record(body).model
    folder = Path(model) if model else run.settings.model
    return None if folder is None else served_weights(folder)


def _seed(job: Job, run: FlaggedRun) -> int:
    """Draw anew in each attempt: the same would fail the same."""
    return run.settings.seed + job.record.attempt - 1


def _settled_base(folder: Path, run: FlaggedRun, asked: Kind | None) -> Base:
    """Note what training begins from when samples are taken: what is approved or asked for later does not change it."""
    if not (folder / SAMPLES).exists() or not (folder / _BASE).exists():
        serving = serving_weights(run)
        is_ours = serving is None or (serving.base / MANIFEST).is_file()
        base = Base(None if serving is None else str(serving.base), asked or (Kind.FULL if is_ours else Kind.LORA))
        write_atomically(folder / _BASE, msgspec.json.encode(base))
    return _noted_base(folder)


def _noted_base(folder: Path) -> Base:
    return msgspec.json.decode((folder / _BASE).read_bytes(), type=Base)


def _candidate_weights(folder: Path, serving: ServedWeights | None) -> ServedWeights:
    """Say how a candidate is opened: whole, or on the base of what serves."""
    if (folder / MANIFEST).is_file() or serving is None:
        return ServedWeights(folder, folder)
    return ServedWeights(folder, serving.base, open_adapter(folder))


def _engine_of(run: FlaggedRun, base: Path) -> str:
    return "embedded" if (base / MANIFEST).is_file() else run.settings.engine


def _opened(run: FlaggedRun, weights: ServedWeights) -> Engine:
    """Open weights to be judged: those that we trained on the embedded engine, others as the run's are."""
    settings, opening = run.settings, dict[str, Any](asking=asking_of(run.settings))
    name = _engine_of(run, weights.base)
    if name == "vllm":
        opening["options"] = engine_options(settings)
    if name == "openai":
        opening["server"] = server_options(settings)
    return open_engine(name, run.names, model_folder=weights.base, adapter=weights.adapter, **opening)
