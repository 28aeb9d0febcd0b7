"""One fine-tune of a real run, from its flag to service: samples, training, gates, persons, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from refresh.finetune.candidate import open_candidate
from refresh.finetune.curation import CurationRecipe
from refresh.finetune.lifecycle import flagged
from refresh.finetune.recipe import FineTuneRecipe
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes
from stream.run_reader import RunReader
from tests.refresh.random_models import write_random_model
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli import fine_tune_work
from tidegate.cli.errors import run_cleanly
from tidegate.cli.main import cli
from tidegate.cli.records import decode_record
from tidegate.contracts import FineTuneFlag, FineTuneReason

LOOSE = {"min_label_mass": 0.0, "min_exact_match": 0.0, "hit_loss_z": 1e9, "max_changed_full": 1.0}
SAMPLES = CurationRecipe(n_taught=300, n_validation=100, n_test=200)
BRIEF = FineTuneRecipe(epochs=1, check_every=2)
Shell = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, answered by weights that nobody taught, whose last pane is flagged."""
    folder = tmp_path_factory.mktemp("fine-tune")
    log = small_log(folder, days=4, sessions=200)
    flags = {**SYNTHETIC, **LOOSE, "window": "2d", "permutations": 20, "max_changed_selective": 1.0}
    counted = run_quietly(log, folder / "counted", **flags)
    database = Database(folder / "counted" / "runs.db")
    names = RunReader(database, counted["run_id"]).cluster_names()
    database.close()
    model = write_random_model(folder / "model", names, seed=1)
    summary = run_quietly(log, folder / "home", **{**flags, "engine": "embedded", "model": model})
    database = Database(folder / "home" / "runs.db")
    bodies = RunReader(database, summary["run_id"]).records()
    last = decode_record(bodies[max(bodies)])
    flag = FineTuneFlag(flag_id="asked", window_end_ms=last.window_end_ms, reason=FineTuneReason.AGE, numbers={})
    assert StoredFineTunes(database).put(flagged(flag, summary["run_id"], 1))
    database.close()
    return folder / "home"


@pytest.fixture
def shell(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    made = fine_tune_work.FineTuneWork

    def brief(*args: Any) -> fine_tune_work.FineTuneWork:
        return replace(made(*args), curation=SAMPLES, recipe=BRIEF)

    monkeypatch.setattr(fine_tune_work, "FineTuneWork", brief)

    def run(*args: str) -> tuple[int, Any]:
        code = run_cleanly(cli, ["finetune", *args, "--home", str(home), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else err

    return run


def test_a_fine_tune_of_a_run_goes_from_its_flag_into_service(home: Path, shell: Shell) -> None:
    code, found = shell("run", "asked")
    assert (code, found["status"]) == (1, "halted")  # a training of few samples is not worth serving
    lost = [verdict["gate"] for verdict in found["gates"] if not verdict["is_passed"]]
    assert lost
    assert not {"files", "manifest", "base", "tokenizer", "codebook", "weights", "samples", "held_out"} & set(lost)
    folder = home / "finetunes" / "asked"
    made = {"samples/manifest.json", "training/report.json", "training/report.html", "gates/verdicts.json"}
    assert {name for name in made if not (folder / name).is_file()} == set()
    assert open_candidate(folder / "candidate").fingerprint == found["candidate_fingerprint"]
    assert found["steps"][2]["numbers"]["n_taught"] > 200
    assert found["steps"][3]["numbers"].keys() >= {"recall", "base_recall", "popular_recall"}

    code, found = shell("approve", "asked", "--reason", "never mind the gates", "--by", "ann")
    assert (code, "it is halted" in found) == (2, True)
    code, found = shell("proceed", "asked", "--reason", "it is a test", "--by", "ann")
    assert (code, found["status"]) == (0, "pending_review")
    code, found = shell("approve", "asked", "--reason", "it is a test", "--by", "bob")
    assert (code, found["status"]) == (0, "serving")
    assert [(step["action"], step["by"]) for step in found["steps"][-3:-1]] == [("proceed", "ann"), ("approve", "bob")]
    assert shell("approve", "asked", "--reason", "again", "--by", "ann") == (0, found)
    (serving,) = [each for each in _weights(home) if each["fine_tune_id"] == "asked"]
    assert serving["fingerprint"] == found["candidate_fingerprint"]
    assert shell("reject", "asked", "--reason", "too late", "--by", "ann")[0] == 2


def _weights(home: Path) -> list[dict[str, Any]]:
    paths = sorted((home / "models").glob("*/v*/weights.json"))
    return [msgspec.json.decode(path.read_bytes()) for path in paths]
