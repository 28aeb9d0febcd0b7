"""What the adaptive policy is for, on worlds whose drift is known (frequency engine, so that it is quick).

`make demo` shows the same with the embedded model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.worlds import world_named, write_log
from tests.runs import SYNTHETIC, run_quietly


def run_world(world: str, seed: int, folder: Path, policy: str) -> dict[str, Any]:
    from dataclasses import replace

    log = folder / f"{world}.parquet"
    if not log.exists():
        write_log(replace(world_named(world), seed=seed), log)
    return run_quietly(log, folder / policy.replace(":", "-"), policy=policy, seed=seed, **SYNTHETIC)


def reasons(summary: dict[str, Any]) -> set[str]:
    return {reason for pane in summary["by_pane"] for reason in pane["reasons"]}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_adaptive_reaches_the_calendars_hit_rate_with_a_tenth_of_its_calls(seed: int, tmp_path: Path):
    adaptive = run_world("demo", seed, tmp_path, "adaptive")
    calendar = run_world("demo", seed, tmp_path, "every:2d")
    assert adaptive["hit_rate_next"] >= calendar["hit_rate_next"]
    assert adaptive["hit_rate_sequence"] >= calendar["hit_rate_sequence"]
    assert adaptive["hit_information_bits"] >= calendar["hit_information_bits"]
    assert adaptive["incremental_calls"] <= calendar["incremental_calls"] / 10
    assert adaptive["first_table_calls"] <= calendar["first_table_calls"]
    assert "drift" in reasons(adaptive)
    assert any(report["alarmed"] for report in adaptive["reports"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_drift_nothing_is_refreshed_by_reason_of_drift(seed: int, tmp_path: Path):
    summary = run_world("flat", seed, tmp_path, "adaptive")
    assert summary["windows"] == 23
    assert "drift" not in reasons(summary)
    assert not any(report["alarmed"] for report in summary["reports"])
    assert summary["finetune_flags"] == 0


def test_growing_traffic_is_not_drift(tmp_path: Path):
    summary = run_world("growth", 0, tmp_path, "adaptive")
    assert not any(report["alarmed"] for report in summary["reports"])
