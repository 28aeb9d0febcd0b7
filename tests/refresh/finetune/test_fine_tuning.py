from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from refresh.engines.embedded import EmbeddedEngine
from refresh.engines.model_files import WEIGHTS
from refresh.finetune.candidate import CandidateKind, base_fingerprint, open_candidate
from refresh.finetune.checkpoints import POINTER
from refresh.finetune.fine_tuning import Lesson, batch_of, best_of, end_of, fine_tune, read_report
from refresh.finetune.full import open_full
from refresh.finetune.learner import most_popular, recall, traffic_recall
from refresh.finetune.recipe import FineTuneRecipe
from refresh.prompts import PromptBuilder, RowContexts
from refresh.training.samples import Samples
from tests.refresh.conftest import TinyModel
from tests.refresh.finetune.killed_training import RECIPE, SEED, lesson
from tests.refresh.finetune.worlds import moved_samples, small_samples
from tests.refresh.tiny_world import NAMES
from tidegate.contracts import RecallCheck
from tidegate.errors import CatalogueError, FineTuneError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def undisturbed(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tune of the tiny model: users go on to c2 + 5 now, and lines say c2 + 1. Never change it."""
    folder = tmp_path_factory.mktemp("finetune") / "undisturbed"
    fine_tune(lesson(tiny_model.folder), folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_candidate_has_learnt_what_lines_do_not_show(undisturbed: Path) -> None:
    report = read_report(undisturbed)
    assert report.base_recall is not None and max(report.base_recall, report.line_recall) < 0.1
    assert report.recall > 0.8 > 3 * report.popular_recall > report.chance
    assert report.losses[-1] < report.losses[0] / 2


def test_the_candidate_opens_as_a_model_that_answers_and_says_what_it_came_from(
    undisturbed: Path, tiny_model: TinyModel
) -> None:
    candidate = open_candidate(undisturbed / "candidate")
    candidate.require_base(tiny_model.folder)
    assert candidate.manifest.base == base_fingerprint(tiny_model.folder)
    assert (candidate.manifest.kind, candidate.manifest.samples, candidate.manifest.seed) == ("full", "checksum", SEED)
    assert candidate.fingerprint == read_report(undisturbed).candidate
    test = moved_samples().test
    engine = EmbeddedEngine(candidate.folder, NAMES)
    answers = engine.infer(RowContexts(test.c1, test.c2, test.retrieved), top_n=1).clusters[:, 0]
    assert recall(answers, test) == pytest.approx(read_report(undisturbed).recall, abs=1e-9)


def test_killed_again_and_again_it_ends_in_the_bytes_of_an_undisturbed_one(
    undisturbed: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("killed_training.py")
    subprocess.run(
        [sys.executable, script, tmp_path, tiny_model.folder],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=600,
    )
    assert content(tmp_path / "candidate") == content(undisturbed / "candidate")
    killed, whole = read_report(tmp_path), read_report(undisturbed)
    assert msgspec.structs.replace(killed, seconds=whole.seconds) == whole


def test_another_seed_trains_another_candidate(undisturbed: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    brief = replace(RECIPE, epochs=1, patience=1)
    other, _ = fine_tune(replace(lesson(tiny_model.folder), seed=SEED + 1, recipe=brief), tmp_path)
    assert content(other.folder)[WEIGHTS] != content(undisturbed / "candidate")[WEIGHTS]


def test_a_training_that_is_stopped_goes_on_from_its_checkpoint(
    undisturbed: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    answers = iter([False, False, True])
    with pytest.raises(FineTuneError, match="was stopped"):
        fine_tune(lesson(tiny_model.folder), tmp_path, should_stop=lambda: next(answers))
    steps: list[int] = []
    fine_tune(lesson(tiny_model.folder), tmp_path, on_progress=lambda _, step, __: steps.append(step))
    assert steps[0] == 2 * RECIPE.check_every + 1
    assert content(tmp_path / "candidate") == content(undisturbed / "candidate")


def test_a_damaged_checkpoint_and_one_of_another_training_are_told_and_begun_anew(
    undisturbed: Path, tiny_model: TinyModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([False, True])
    with pytest.raises(FineTuneError):
        fine_tune(lesson(tiny_model.folder), tmp_path, should_stop=lambda: next(answers))
    (weights,) = (tmp_path / "training").glob("weights-*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    stop = replace(lesson(tiny_model.folder), seed=SEED + 1)
    with caplog.at_level(logging.WARNING), pytest.raises(FineTuneError):
        fine_tune(lesson(tiny_model.folder), tmp_path, should_stop=lambda: True)
    with caplog.at_level(logging.WARNING), pytest.raises(FineTuneError):
        fine_tune(stop, tmp_path, should_stop=lambda: True)
    assert ["damaged" in caplog.messages[0], "another training" in caplog.messages[1]] == [True, True]


def test_checkpoints_are_safetensors_and_json_alone_and_only_the_last_is_kept(undisturbed: Path) -> None:
    names = sorted(path.name for path in (undisturbed / "training").iterdir())
    last = read_report(undisturbed).checks[-1].step
    best = read_report(undisturbed).best_step
    assert names == sorted(
        [
            f"best-{best:06d}.safetensors",
            POINTER,
            f"optimizer-{last:06d}.safetensors",
            "report.json",
            f"weights-{last:06d}.safetensors",
        ]
    )


def test_weights_from_nothing_read_first_and_say_why(tmp_path: Path) -> None:
    brief = FineTuneRecipe(epochs=1, check_every=6, patience=2)
    seen: list[str] = []
    begun = Lesson(open_full(None, NAMES, seed=1), small_samples(), "checksum", brief, 1)
    candidate, report = fine_tune(begun, tmp_path, on_progress=lambda what, *_: seen.append(what))
    assert (candidate.manifest.base, report.base, report.base_recall) == (None, None, None)
    assert report.why_from_nothing == "no weights serve yet"
    assert list(dict.fromkeys(seen)) == ["reading", "samples"]
    assert len(report.reading_losses) == seen.count("reading")
    assert report.recall > 0.5 > report.popular_recall
    assert report.copy_accuracy is not None and report.copy_accuracy >= 0.97


def test_a_catalogue_that_grew_is_gone_on_with_and_one_that_changed_is_not(tiny_model: TinyModel) -> None:
    grown = open_full(tiny_model.folder, [*NAMES, "new"], seed=1)
    assert grown.base == base_fingerprint(tiny_model.folder) and grown.why_from_nothing is None
    renamed = open_full(tiny_model.folder, ["other", *NAMES[1:]], seed=1)
    assert renamed.base is None and "not the catalogue's first" in str(renamed.why_from_nothing)
    outgrown = open_full(tiny_model.folder, [*NAMES, *(f"new {n}" for n in range(60))], seed=1)
    assert outgrown.base is None and "outgrew" in str(outgrown.why_from_nothing)
    assert outgrown.prompts.codebook.capacity == 128


def test_samples_of_another_catalogue_are_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    learner = open_full(tiny_model.folder, [*NAMES, "new"], seed=1)
    with pytest.raises(CatalogueError, match="20 clusters that is not the model's of 21"):
        fine_tune(replace(lesson(None), learner=learner), tmp_path)


def test_a_fine_tune_without_a_report_says_so(tmp_path: Path) -> None:
    with pytest.raises(FineTuneError, match="no report of the training"):
        read_report(tmp_path)


class Scripted:
    """A learner of one weight whose recall is written down beforehand, look by look."""

    kind, base, why_from_nothing = CandidateKind.LORA, "b", None
    device, dtype, n_weights, tokenizer_sha256, n_readable = "cpu", "float32", 1, "t", len(NAMES)

    def __init__(self, prompts: PromptBuilder, recalls: list[float], loss: float = 1.0) -> None:
        self.prompts, self._recalls, self._loss = prompts, list(recalls), loss
        self.weight = torch.nn.Parameter(torch.zeros(1))

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        return {"weight": self.weight}

    def losses(self, samples: Samples) -> torch.Tensor:
        constant = self.weight - self.weight.detach()  # the weight moves, the loss does not
        return self._loss + constant.expand(len(samples))

    def answers(self, samples: Samples) -> np.ndarray:
        is_hit = np.arange(len(samples)) < (self._recalls.pop(0) if self._recalls else 0.0) * len(samples)
        return np.where(is_hit, samples.target, -1).astype(np.int32)

    def write(self, folder: Path, facts: Mapping[str, object]) -> None:
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_text(f"{self.weight.item():.6f} at {facts['step']}")


def scripted(recalls: list[float], *, patience: int = 3, loss: float = 1.0) -> Lesson:
    prompts = open_full(None, NAMES, seed=1).prompts
    recipe = FineTuneRecipe(epochs=9, batch_size=128, check_every=5, patience=patience)
    learner = Scripted(prompts, [0.0, *recalls], loss)  # the first is asked of the test users
    return Lesson(learner, small_samples(), "checksum", recipe, 1)


def test_it_stops_when_recall_no_longer_rises_and_keeps_the_best_weights(tmp_path: Path) -> None:
    given = scripted([0.1, 0.3, 0.5, 0.4, 0.45, 0.2, 0.9])
    learner = given.learner
    weights: list[float] = []
    candidate, report = fine_tune(
        given, tmp_path, on_progress=lambda *_: weights.append(float(learner.trained["weight"].detach()))
    )
    assert [round(check.recall, 2) for check in report.checks] == [0.1, 0.3, 0.5, 0.4, 0.45, 0.2]
    assert (report.best_step, report.ended_by, len(report.losses)) == (10, "patience", 25)
    assert (candidate.folder / "adapter_model.safetensors").read_text() == f"{weights[9]:.6f} at 10"
    assert weights[9] != weights[-1]


def test_it_ends_with_its_budget_where_recall_goes_on_rising(tmp_path: Path) -> None:
    _, report = fine_tune(scripted([0.01 * n for n in range(1, 60)]), tmp_path)
    n_steps = 9 * RECIPE.n_steps_per_epoch(len(small_samples().taught))
    assert (report.ended_by, report.best_step, len(report.losses)) == ("budget", n_steps, n_steps)


def test_where_nothing_gets_better_the_candidate_is_what_it_began_from(tmp_path: Path) -> None:
    candidate, report = fine_tune(scripted([0.5, 0.4, 0.3, 0.2, 0.1]), tmp_path)
    assert report.best_step == 0
    assert (candidate.folder / "adapter_model.safetensors").read_text() == "0.000000 at 0"


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(FineTuneError, match="loss is nan after 0 steps"):
        fine_tune(scripted([0.1], loss=float("nan")), tmp_path)


def test_of_equal_recalls_the_lower_loss_is_best_and_then_the_earlier_step() -> None:
    def check(step: int, recall: float, loss: float) -> RecallCheck:
        return RecallCheck(step=step, recall=recall, loss=loss)

    checks = (check(0, 0.1, 1.0), check(5, 0.3, 0.9), check(10, 0.3, 0.8), check(15, 0.3, 0.8))
    assert best_of(checks) == 10
    assert (end_of(checks, 2, False), end_of(checks, 1, False), end_of(checks, 2, True)) == (None, "patience", "budget")


def test_while_the_loss_falls_it_goes_on_though_recall_does_not_rise_yet() -> None:
    checks = tuple(
        RecallCheck(step=step, recall=0.3 if step == 0 else 0.2, loss=loss)
        for step, loss in ((0, 1.0), (5, 0.9), (10, 0.8), (15, 0.85), (20, 0.9))
    )
    assert [end_of(checks[:n], 2, False) for n in (3, 4, 5)] == [None, None, "patience"]
    assert best_of(checks) == 0


def test_each_pass_teaches_every_sample_once_and_reads_on() -> None:
    taught = small_samples().taught
    recipe = FineTuneRecipe(batch_size=100, reading_share=0.3)
    n_steps = recipe.n_steps_per_epoch(len(taught))
    batches = [batch_of(taught, step, recipe, 1, 64) for step in range(2 * n_steps)]
    own = [batch[: min(70, len(batch) - 30)] for batch in batches]
    for of_pass in (own[:n_steps], own[n_steps:]):
        seen = np.sort(np.concatenate([np.stack([b.c1, b.c2, b.target], 1) for b in of_pass]), axis=0)
        np.testing.assert_array_equal(seen, np.sort(np.stack([taught.c1, taught.c2, taught.target], 1), axis=0))
    assert own[0].target.tolist() != own[n_steps].target.tolist()
    read = batches[0][70:]
    np.testing.assert_array_equal(read.target, read.retrieved[:, 0])


def test_recall_by_traffic_gives_back_what_the_cap_took() -> None:
    samples = small_samples().test[:2]
    samples = replace(samples, weight=np.array([1.0, 3.0], np.float32))
    answers = np.array([-1, samples.target[1]], np.int32)
    assert (recall(answers, samples), traffic_recall(answers, samples)) == (0.5, 0.9)
    assert recall(answers[:0], samples[:0]) == traffic_recall(answers[:0], samples[:0]) == 0.0


def test_the_most_popular_cluster_is_neither_of_the_two_that_were_watched() -> None:
    none = np.full((4, 1), -1, np.int32)
    taught = Samples(
        np.zeros(4, np.int32), np.ones(4, np.int32), none, np.array([5, 5, 6, 7], np.int32), np.ones(4, np.float32)
    )
    asked = replace(taught, c1=np.array([5, 0, 5, 6], np.int32), c2=np.array([1, 1, 6, 5], np.int32))
    assert most_popular(taught, asked).tolist() == [6, 5, 7, 7]
