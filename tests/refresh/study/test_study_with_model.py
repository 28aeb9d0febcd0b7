"""A whole study with the embedded engine, on a log whose clusters are those that the tiny model was taught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.refresh.conftest import TinyModel
from tests.refresh.tiny_world import N_CLUSTERS, NAMES
from tidegate.cli.study import study
from tidegate.cli.watching import Bars
from tidegate.config import load_settings

DAY_SECONDS = 86_400


def _log(path: Path, n_new: int = 0) -> Path:
    """Four days of triples that mostly move on to c2 + 1; the clusters come in the order of their names."""
    generator = np.random.default_rng(3)
    lines = ["user,cluster,time"]
    lines += [f"first,{name},{i}" for i, name in enumerate(NAMES)]
    lines += [f"late,new {i},{3 * DAY_SECONDS + i}" for i in range(n_new)]
    for n in range(4 * 1_500):
        c1, c2, other = generator.permutation(N_CLUSTERS)[:3]
        c_next = (c2 + 1) % N_CLUSTERS if generator.random() < 0.7 else other
        if c_next in (c1, c2):
            continue
        at = n // 1_500 * DAY_SECONDS + 1_000 + 40 * (n % 1_500)
        lines += [f"user {n},{NAMES[each]},{at + i}" for i, each in enumerate((c1, c2, c_next))]
    path.write_text("\n".join(lines) + "\n")
    return path


def _study(source: Path, model: TinyModel) -> dict:
    flags = {"source": str(source), "model": model.folder, "window": "1d", "gap": "30m", "lateness": "9d"}
    return study(load_settings(flags), Bars(Console(quiet=True)))


@pytest.fixture(scope="module")
def found(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return _study(_log(tmp_path_factory.mktemp("logs") / "watches.csv"), tiny_model)


def test_every_section_has_the_model_in_it(found: dict) -> None:
    assert found["model"]["capacity"] == 64 and found["model"]["clusters_beyond_codebook"] == 0
    assert found["repetition"]["same_when_repeated"]["share"] == 1.0
    ways = found["comparison"]["groups"]["all"]["ways"]
    assert set(ways) >= {"model", "model_shrunk", "model_alone", "frequency", "backoff"}
    assert ways["model"]["hit_rate"]["mean"] == pytest.approx(ways["frequency"]["hit_rate"]["mean"], abs=0.1)
    assert all(way["model"]["transitions"] > 0 for way in found["retrieval"]["ways"])


def test_what_moves_on_to_the_next_cluster_is_foretold_by_the_backoff(found: dict) -> None:
    groups = found["comparison"]["groups"]
    assert groups["all"]["ways"]["backoff"]["hit_rate"]["mean"] == pytest.approx(0.7, abs=0.05)
    assert groups["all"]["gains"]["frequency - backoff"]["hit_rate"]["mean"] < 0


def test_clusters_without_a_code_are_counted_and_their_rows_are_not_asked(
    found: dict, tiny_model: TinyModel, tmp_path: Path
) -> None:
    grown = _study(_log(tmp_path / "grown.csv", n_new=50), tiny_model)
    assert grown["clusters"] == N_CLUSTERS + 50 and grown["model"]["clusters_beyond_codebook"] == 6
    assert grown["repetition"]["rows_beyond_codebook"] == 6  # whose c1, c2 or line is one of the six
    assert found["repetition"]["rows_beyond_codebook"] == 0
