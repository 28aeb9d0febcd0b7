"""``tidegate run`` as a user meets it: names of its figures, repeated runs, the embedded model, interrupted work."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from refresh.table_store import TableStore
from tests.runs import SYNTHETIC, read_result, result_of, run_quietly, small_log
from tidegate.cli.errors import run_cleanly
from tidegate.cli.main import cli
from tidegate.cli.run import run
from tidegate.config import load_settings

NAMES = {
    "events",
    "positives",
    "sequences",
    "transitions",
    "pairs",
    "windows",
    "refreshes",
    "llm_calls",
    "hit_rate_next",
    "hit_rate_sequence",
    "table_version",
    "finetune_flags",
    "reports",
}
REPORT_NAMES = {
    "window_end",
    "jaccard_mean",
    "jaccard_variance",
    "null_mean",
    "drift_mean",
    "pairs",
    "flagged_pairs",
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_log(tmp_path_factory.mktemp("log"))


def test_the_json_has_the_documented_names(log: Path, tmp_path: Path):
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    arguments = ["--source", str(log), "--home", str(tmp_path / "home"), "--json", str(out), "--html", str(page)]
    flags = [text for name, value in SYNTHETIC.items() for text in (f"--{name}", value)]
    assert run_cleanly(cli, ["run", *arguments, *flags]) == 0
    summary = msgspec.json.decode(out.read_bytes())
    assert set(summary) >= NAMES
    assert all(set(report) >= REPORT_NAMES for report in summary["reports"])
    assert len(summary["reports"]) == summary["windows"] == 9 - 2 * 3 + 1
    assert page.read_text().lower().startswith("<!doctype html>")


def test_a_finished_run_starts_over_and_ends_the_same(log: Path, tmp_path: Path):
    first = result_of(log, tmp_path / "home", **SYNTHETIC)
    again = result_of(log, tmp_path / "home", **SYNTHETIC)
    assert again.counts == first.counts
    assert again.decisions == first.decisions
    assert again.remembered == first.remembered
    assert again.summary["llm_calls"] == first.summary["llm_calls"]
    assert again.table_checksum == first.table_checksum


def test_runs_with_other_flags_are_apart(log: Path, tmp_path: Path):
    one = run_quietly(log, tmp_path / "home", **SYNTHETIC)
    other = run_quietly(log, tmp_path / "home", **SYNTHETIC, window="2d")
    assert one["run_id"] != other["run_id"]
    assert one["transitions"] == other["transitions"]


def test_an_interrupted_run_goes_on_where_it_was(log: Path, tmp_path: Path):
    expected = result_of(log, tmp_path / "whole", **SYNTHETIC)
    flags = {"source": str(log), "home": tmp_path / "home", **SYNTHETIC}
    stop = threading.Event()
    stop.set()  # before the first batch is done
    interrupted = run(load_settings(flags), Console(quiet=True), stop)
    assert not interrupted["is_finished"]
    finished = run_quietly(log, tmp_path / "home", **SYNTHETIC)
    assert finished["is_finished"]
    resumed = read_result(finished, tmp_path / "home")
    assert resumed.counts == expected.counts
    assert resumed.decisions == expected.decisions
    assert resumed.remembered == expected.remembered


def test_a_rollback_by_a_person_is_what_the_run_goes_on_from(log: Path, tmp_path: Path):
    run_quietly(log, tmp_path / "home", **SYNTHETIC)
    tables = TableStore(tmp_path / "home" / "tables")
    before = tables.current()
    assert before is not None
    target = tables.rollback(why="test")
    assert target < before
    assert tables.current() == target


def test_the_embedded_model_is_trained_asked_and_recorded(tmp_path: Path):
    log = small_log(tmp_path, days=8, sessions=700)
    flags: dict[str, Any] = {**SYNTHETIC, "engine": "embedded"}
    first = result_of(log, tmp_path / "home", **flags)
    model = Path(first.summary["model"])
    assert (model / "model.safetensors").is_file()
    assert first.summary["llm_calls"] > 0
    manifest = TableStore(tmp_path / "home" / "tables").versions()[-1]
    assert manifest.engine_name == "embedded"
    again = result_of(log, tmp_path / "again", **flags)
    assert again.decisions == first.decisions
    assert again.table_checksum == first.table_checksum  # the same training, bit for bit
    given = result_of(log, tmp_path / "given", **flags, model=model)
    assert given.table_checksum == first.table_checksum
    baseline = result_of(log, tmp_path / "baseline", **{**flags, "engine": "frequency"})
    assert baseline.counts == first.counts
    assert first.summary["hit_rate_next"] > 0.9 * baseline.summary["hit_rate_next"]
