"""One tiny trained model for all tests of this room."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from refresh.training import TrainingBudget, TrainingReport, train_model
from tests.refresh.tiny_world import NAMES, tiny_counts

TINY_BUDGET = TrainingBudget(n_samples=1_000, transition_epochs=2, batch_size=128)


@dataclass(frozen=True)
class TinyModel:
    folder: Path
    report: TrainingReport
    progress: list[tuple[str, int, int]]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Train on a world of 20 clusters; 44 of the 64 codes are spare. Never change its folder: copy it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    progress: list[tuple[str, int, int]] = []
    evidence, labels = tiny_counts(seed=1), tiny_counts(seed=2)
    report = train_model(
        NAMES, evidence, labels, folder, seed=7, budget=TINY_BUDGET, on_progress=lambda *step: progress.append(step)
    )
    return TinyModel(folder, report, progress)
