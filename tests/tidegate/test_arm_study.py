"""Arms with real fine-tunes, small ones: the same each time, charged for what was computed, stopped by real gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from refresh.finetune.curation import CurationRecipe
from refresh.finetune.gates import CandidateBounds
from refresh.finetune.recipe import FineTuneRecipe
from refresh.finetune.samples_folder import read_samples
from refresh.study.gpu_time import GpuRule
from refresh.training import TrainingBudget, train_model
from stream.study.windows import StudiedLog, in_fewer_buckets
from stream.worlds import world_named, write_log
from tidegate.cli import studying
from tidegate.cli.arm_options import ArmRequest
from tidegate.cli.arm_study import ArmStudy
from tidegate.cli.arm_tuning import ArmWeights, Teaching, Tuning
from tidegate.cli.log_reading import read_log
from tidegate.cli.stream_settings import drift_options, sequence_options
from tidegate.cli.study import study
from tidegate.cli.watching import Bars
from tidegate.config import RunSettings, load_settings

QUIET = Bars(Console(quiet=True))
TEACHING = Teaching(
    CurationRecipe(n_taught=600, n_validation=150, n_test=400),
    FineTuneRecipe(epochs=1, batch_size=128, peak_rate=5e-4, check_every=4, patience=1),
    CandidateBounds(n_probes=64, n_repeated=16, max_recall_loss=1.0),
)
ARMS = ("rag_only", "hybrid_calendar", "hybrid_calendar+own")
REQUEST = ArmRequest(ARMS, "3d", GpuRule(parameters=1e9), TEACHING)


@dataclass(frozen=True)
class Given:
    """A log of eight days, and a small model of its clusters."""

    settings: RunSettings
    studied: StudiedLog
    model: Path

    def figures(self, folder: Path, request: ArmRequest = REQUEST) -> dict[str, Any]:
        arms = ArmStudy(self.studied, drift_options(self.settings), self.settings, request, 2)
        return arms.figures(self.model, folder, lambda *_: None, lambda *_: None)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("arms")
    write_log(replace(world_named("flat"), n_clusters=24, days=8, sessions_per_day=500), folder / "log.csv")
    flags = {"source": str(folder / "log.csv"), "positive": "engagement >= 0.5", "gap": "30m", "window": "2d"}
    settings: RunSettings = load_settings({**flags, "permutations": 20, "model": folder / "model"})
    log, _ = read_log(settings, QUIET)
    studied = StudiedLog.of_log(log, sequence_options(settings))
    train_model(
        log.cluster_names[: studied.n_known(1)],
        studied.windows[0].of_buckets(0).without_buckets(),
        studied.windows[0].of_buckets(1).without_buckets(),
        folder / "model",
        seed=1,
        capacity=26,
        budget=TrainingBudget(n_samples=600, transition_epochs=1, batch_size=128),
    )
    return Given(settings, studied, folder / "model")


@pytest.fixture(scope="module")
def found(given: Given, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return given.figures(tmp_path_factory.mktemp("once"))


def test_an_arm_comes_to_the_same_bytes_again_alone_and_within_a_study(
    given: Given, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for section in ("compare_adjacent", "follow_first_window", "repeat_window", "compare_ways", "ablate_retrieval"):
        monkeypatch.setattr(studying, section, lambda *_: {})  # the other sections, which take their time
    again = study(given.settings, QUIET, replace(REQUEST, names=("rag_only",)))["arms"]
    assert msgspec.json.encode(again["arms"]["rag_only"]) == msgspec.json.encode(found["arms"]["rag_only"])
    assert "seconds" not in {key for arm in found["arms"].values() for each in arm["fine_tunes"] for key in each}


def test_fine_tunes_of_the_calendar_are_taken_on_and_retrieval_alone_has_the_start(found: dict[str, Any]) -> None:
    made = {name: [(each["why"], each["outcome"]) for each in arm["fine_tunes"]] for name, arm in found["arms"].items()}
    assert made["rag_only"] == [("start", "taken_on")]
    assert made["hybrid_calendar"] == made["hybrid_calendar+own"] == [("start", "taken_on"), ("calendar", "taken_on")]
    assert found["calendar_came_due"] and found["refreshed_every"] == "2d"


def test_gpu_seconds_are_those_of_plain_arithmetic(found: dict[str, Any]) -> None:
    tokens = found["gpu"]["prompt_tokens"]
    assert tokens == found["gpu"]["prompt_tokens_of_engine"] > 4
    for arm in found["arms"].values():
        read = 2 * 1e9 * tokens / (989e12 * 0.4)
        learnt = 6 * 1e9 * tokens / (989e12 * 0.35)
        assert arm["gpu_seconds"]["all"]["inference"] == pytest.approx(arm["llm_calls"] * read)
        of_training = arm["trained_rows"] * learnt + arm["held_out_rows"] * read
        assert arm["gpu_seconds"]["all"]["training"] == pytest.approx(of_training)
        assert arm["gpu_seconds"]["first"]["inference"] == pytest.approx(arm["first_table_calls"] * read)
        parts = [arm["gpu_seconds"][part]["total"] for part in ("first", "later", "all")]
        assert parts[0] + parts[1] == pytest.approx(parts[2])
        assert arm["prompt_tokens"] == arm["llm_calls"] * tokens
        assert arm["trained_rows"] == sum(each["trained_rows"] for each in arm["fine_tunes"])
        # Each pass teaches all samples once, and goes on reading: 38 of 128 rows a step.
        assert all(each["trained_rows"] == each["samples"] + 38 * each["steps"] for each in arm["fine_tunes"])
    assert found["arms"]["rag_only"]["gpu_seconds"]["later"]["training"] == 0.0


def test_differences_are_between_the_arms_that_were_played(found: dict[str, Any]) -> None:
    assert found["parts"]["retrieval"] is found["parts"]["timing"] is None
    gain = found["parts"]["fine_tunes"]
    ours, theirs = found["arms"]["hybrid_calendar"], found["arms"]["rag_only"]
    assert gain["hit_rate_next"]["mean"] == pytest.approx(ours["hit_rate_next"] - theirs["hit_rate_next"])
    assert gain["gpu_seconds_later"] > 0 and gain["hit_rate_next"]["n_panes"] == 6
    assert all(arm["less_subject"] is None for arm in found["arms"].values())  # the adaptive arm was not played


@pytest.fixture
def tuning(given: Given, tmp_path: Path) -> Callable[[Teaching], Tuning]:
    counts = [in_fewer_buckets(each, 64) for each in given.studied.panes]
    return lambda teaching: Tuning(counts, given.studied.log.first_pane, 2, 5, 0, 3, tmp_path, teaching)


def weights_of(given: Given) -> ArmWeights:
    from refresh.engines import open_engine

    return ArmWeights(given.model, open_engine("embedded", given.studied.log.cluster_names, model_folder=given.model))


def test_a_fine_tune_is_made_once_without_lines_where_the_arm_shows_none_and_a_lost_gate_stops_it(
    given: Given, tuning: Callable[[Teaching], Tuning], tmp_path: Path
) -> None:
    strict = replace(TEACHING, bounds=replace(TEACHING.bounds, min_recall=0.99))
    made, base = tuning(strict), weights_of(given)
    names, pane = given.studied.log.cluster_names, given.studied.log.first_pane + 4
    tuned = made.tune(base, names, pane, shows_lines=False)
    assert tuned.weights is None and "recall" in tuned.gates_lost and tuned.work.n_taught > 600
    assert made.tune(base, names, pane, shows_lines=False) is tuned
    samples, _ = read_samples(tmp_path / "fine-tune-000" / "samples")
    assert (samples.samples.retrieved == -1).all() and samples.last_pane == pane
    assert samples.first_pane == pane - 4


def test_a_fine_tune_that_fails_is_told_and_costs_nothing(given: Given, tuning: Callable[[Teaching], Tuning]) -> None:
    few = replace(TEACHING, curation=replace(TEACHING.curation, validation_share=0.6, test_share=0.39))
    names, pane = given.studied.log.cluster_names, given.studied.log.first_pane + 4
    tuned = tuning(few).tune(weights_of(given), names, pane, shows_lines=True)
    assert tuned.fault is not None and "too few for two folds" in tuned.fault
    assert tuned.weights is None and tuned.report is None and tuned.work.n_taught == 0
