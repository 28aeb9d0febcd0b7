from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refresh.engines.model_files import MANIFEST, WEIGHTS
from refresh.training import TrainingBudget, train_model
from refresh.training.teach import counterfactual_lines, reading_samples
from tests.refresh.conftest import TINY_BUDGET, TinyModel
from tests.refresh.tiny_world import NAMES, tiny_counts
from tidegate.counts import SuccessorCounts
from tidegate.errors import CatalogueError, EngineError
from tidegate.files import sha256_of_file


def test_the_loss_falls_in_both_lessons(tiny_model: TinyModel) -> None:
    report = tiny_model.report
    assert report.reading_losses[-1] < report.reading_losses[0] / 4
    assert np.mean(report.transition_losses[-5:]) < np.mean(report.transition_losses[:5])


def test_transitions_do_not_make_it_forget_to_read_any_code(tiny_model: TinyModel) -> None:
    assert tiny_model.report.copy_accuracy >= 0.99


def test_it_answers_held_out_users_no_worse_than_their_retrieved_lines(tiny_model: TinyModel) -> None:
    report = tiny_model.report
    assert report.recall_at_1 is not None
    assert report.line_recall_at_1 is not None
    assert report.recall_at_1 >= report.line_recall_at_1 - 0.05
    assert report.n_held_out > 50


def test_progress_is_told_step_by_step(tiny_model: TinyModel) -> None:
    lessons = [lesson for lesson, _, _ in tiny_model.progress]
    assert lessons == sorted(lessons)
    assert tiny_model.progress[-1] == (
        "transitions",
        len(tiny_model.report.transition_losses),
        lessons.count("transitions"),
    )


def test_equal_seeds_give_equal_bytes(tiny_model: TinyModel, tmp_path: Path) -> None:
    train_model(NAMES, tiny_counts(seed=1), tiny_counts(seed=2), tmp_path / "again", seed=7, budget=TINY_BUDGET)
    for name in (WEIGHTS, MANIFEST):
        assert sha256_of_file(tmp_path / "again" / name) == sha256_of_file(tiny_model.folder / name)


def test_the_manifest_seals_every_file_and_holds_the_recipe(tiny_model: TinyModel) -> None:
    manifest = json.loads((tiny_model.folder / MANIFEST).read_text())
    assert set(manifest["files"]) == {path.name for path in tiny_model.folder.iterdir()} - {MANIFEST}
    assert manifest["recipe"]["seed"] == 7
    assert manifest["n_clusters"] == len(NAMES)


@pytest.mark.parametrize("capacity", [3, 8])
def test_lines_to_read_are_neither_c1_nor_c2_and_reach_every_code(capacity: int) -> None:
    samples = reading_samples(3_000, capacity, np.random.default_rng(0))
    assert ((samples.target != samples.c1) & (samples.target != samples.c2)).all()
    assert (samples.c1 != samples.c2).all()
    assert set(samples.target.tolist()) == set(range(capacity))
    np.testing.assert_array_equal(samples.target, samples.retrieved[:, 0])


def test_lines_around_given_contexts_are_uniform() -> None:
    n = 8_000
    c1, c2 = np.full(n, 2, np.int32), np.zeros(n, np.int32)
    drawn = np.bincount(counterfactual_lines(c1, c2, 6, np.random.default_rng(0)).target, minlength=6)
    assert drawn[[0, 2]].tolist() == [0, 0]
    assert (abs(drawn[[1, 3, 4, 5]] - n / 4) < 250).all()


def test_a_model_that_does_not_learn_to_read_is_refused(tmp_path: Path) -> None:
    none = SuccessorCounts.empty()
    with pytest.raises(EngineError, match=r"After 2 steps .* 99% is required.*reading_steps"):
        train_model(NAMES, none, none, tmp_path / "m", seed=1, budget=TrainingBudget(reading_steps=2))
    assert not list(tmp_path.iterdir())


def test_more_clusters_than_codes_cannot_be_trained(tmp_path: Path) -> None:
    none = SuccessorCounts.empty()
    with pytest.raises(CatalogueError, match="Fine-tune"):
        train_model(NAMES, none, none, tmp_path / "m", seed=1, capacity=5)


def test_a_model_is_never_changed_in_place(tiny_model: TinyModel) -> None:
    none = SuccessorCounts.empty()
    with pytest.raises(EngineError, match="A model is there already"):
        train_model(NAMES, none, none, tiny_model.folder, seed=1)


def test_importing_the_room_does_not_import_torch() -> None:
    program = "import sys, refresh.training, refresh.engines.embedded; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_transitions_it_learns_to_read_only(tmp_path: Path) -> None:
    none = SuccessorCounts.empty()
    report = train_model(NAMES, none, none, tmp_path / "m", seed=1, budget=TINY_BUDGET)
    assert report.copy_accuracy >= 0.99
    assert (report.transition_losses, report.recall_at_1, report.line_recall_at_1) == ([], None, None)
