"""The whole way: relations change, the run flags it, weights are trained, judged, approved, and the hits come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.finetune_recovery import WINDOW_DAYS, Scene
from refresh.finetune.recipe import FineTuneRecipe
from stream.worlds import world_named
from tidegate.contracts import FineTuneReason, FineTuneStatus

WORLD = replace(world_named("relations"), days=15)
# Small batches at a high rate: what the bench learns in 490 steps of 256, in 320 of 128.
RECIPE = FineTuneRecipe(epochs=4, batch_size=128, peak_rate=3e-3)


def test_a_fine_tune_brings_the_hit_rate_back_where_fresh_lines_do_not(tmp_path: Path) -> None:
    played = Scene(WORLD, recipe=RECIPE).play(tmp_path)
    gates = [[verdict.sentence for verdict in record.gates if not verdict.is_passed] for record in played.fine_tunes]
    assert [record.status for record in played.fine_tunes] == [FineTuneStatus.SERVING] * 2, gates
    assert [reason for _, reason in played.flags] == [FineTuneReason.HIT_RATE]
    low = played.rate(range(played.change + WINDOW_DAYS, played.swaps[1] + 1))
    assert low < played.level - 0.05
    assert abs(played.recovered - played.level) < 0.01
