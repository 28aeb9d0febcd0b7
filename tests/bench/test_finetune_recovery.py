"""What the scene of a recovery is summed up to."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import finetune_recovery as recovery
from bench.finetune_recovery import Played, Scene, scene_world
from tidegate.contracts import FineTuneReason

# Hits of 1,000 a day: the run's own weights, a first fine-tune on day 5, the change on day 9, a second one on day 13.
HITS = [0, 0, 120, 140, 145, 150, 190, 190, 190, 60, 60, 70, 80, 90, 191, 186, 188, 190]


def played(scene: Scene, folder: Path) -> Played:
    assert folder.is_dir()
    hits = HITS if scene.repairs else [*HITS[:14], 100, 110, 120, 130]
    return Played(
        scene.world,
        panes=list(range(18)),
        hits=hits,
        scored=[1_000] * 18,
        calls=[0, 900] + [10] * 16,
        swaps=[5, 13] if scene.repairs else [5],
        flags=[(12, FineTuneReason.HIT_RATE)],
        train_seconds=[40.0, 50.0],
    )


def test_levels_leave_out_the_days_that_other_weights_served(tmp_path: Path) -> None:
    found = played(Scene(scene_world(0)), tmp_path)
    assert found.change == 9
    assert found.level == pytest.approx(0.190)
    assert found.recovered == pytest.approx(0.188)


def test_the_table_says_how_far_below_its_level_the_hit_rate_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scene, "play", played)
    figures = {figure.name: figure for figure in recovery._figures(0, tmp_path, "adaptive", is_quick=False)}
    assert figures["points below the level, seed 0"].value == pytest.approx(0.2)
    assert figures["points below the level, seed 0"].goal == "<= 1"
    assert figures["with fresh lines after the change, seed 0"].value == pytest.approx(8.0)
    assert "hit_rate_below_level on day 12" in figures["with fresh lines after the change, seed 0"].conditions
    assert figures["retrieval alone, last three days, seed 0"].value == pytest.approx(12.0)
    assert figures["rows asked of the model, seed 0"].value == 1_060
    assert ", adaptive, " in figures["hit rate after the first fine-tune, seed 0"].conditions
    assert figures["from samples to verdicts, seed 0"].value == 50.0
    assert len(recovery._figures(0, tmp_path, "adaptive", is_quick=True)) == 6
