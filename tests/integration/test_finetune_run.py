"""One fine-tune of a real run, from its flag to service: samples, training, gates, persons, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from refresh.fine_tune_flag import FlagAnswer, FlagOptions
from refresh.finetune.candidate import open_candidate
from refresh.finetune.curation import CurationRecipe
from refresh.finetune.recipe import FineTuneRecipe
from stream.database import Database
from stream.run_reader import RunReader
from tests.refresh.random_models import write_random_model
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli import assembly as assembly_module
from tidegate.cli import fine_tune_work
from tidegate.cli.assembly import assemble
from tidegate.cli.errors import run_cleanly
from tidegate.cli.main import cli
from tidegate.cli.pipeline import Pipeline
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.clock import SystemClock
from tidegate.config import load_settings
from tidegate.contracts import FineTune, FineTuneStatus

LOOSE = {"min_label_mass": 0.0, "min_exact_match": 0.0, "hit_loss_z": 1e9, "max_changed_full": 1.0}
SAMPLES = CurationRecipe(n_taught=300, n_validation=100, n_test=200)
BRIEF = FineTuneRecipe(epochs=1, check_every=2)


@dataclass(frozen=True)
class World:
    """A log, and weights for its catalogue that nobody taught."""

    folder: Path
    flags: dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("fine-tune")
    log = small_log(folder, days=5, sessions=200)
    flags = {**SYNTHETIC, **LOOSE, "window": "1d", "permutations": 20, "max_changed_selective": 1.0}
    counted = run_quietly(log, folder / "counted", **flags)
    with closing(Database(folder / "counted" / "runs.db")) as database:
        names = RunReader(database, counted["run_id"]).cluster_names()
    model = write_random_model(folder / "model", names, seed=1)
    return World(folder, {**flags, "source": str(log), "engine": "embedded", "model": model})


@dataclass
class Home:
    """A run's home, in which every weights are old."""

    home: Path
    flags: dict[str, Any]
    capture: pytest.CaptureFixture[str]

    def run(self, on_record: Callable[[PaneRecord], None] = lambda _: None) -> list[PaneRecord]:
        """Run to the end."""
        settings = load_settings({**self.flags, "home": self.home})
        with assemble(settings, SystemClock()) as assembly:
            pipeline = Pipeline(assembly.parts, assembly.last_record, on_record)
            assembly.parts.worker.run(pipeline.on_pane, pipeline.resume())
            return [decode_record(body) for body in assembly.parts.store.records().values()]

    def shell(self, *args: str) -> tuple[int, Any]:
        """Give a command about fine-tunes; returns its exit code, and what it says."""
        code = run_cleanly(cli, ["finetune", *args, "--home", str(self.home), "--json"])
        out, err = self.capture.readouterr()
        return code, json.loads(out) if out else err


@pytest.fixture
def home(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Home:
    made = fine_tune_work.FineTuneWork

    def brief(*args: Any, **more: Any) -> fine_tune_work.FineTuneWork:
        return replace(made(*args, **more), curation=SAMPLES, recipe=BRIEF)

    monkeypatch.setattr(fine_tune_work, "FineTuneWork", brief)
    monkeypatch.setattr(assembly_module, "flag_options", lambda _: FlagOptions(max_age_days=0.9))
    return Home(tmp_path, world.flags, capsys)


def test_a_run_raises_a_flag_hears_the_answer_and_asks_again_later(home: Home) -> None:
    seen: list[FineTune] = []

    def reject(record: PaneRecord) -> None:
        if record.decision is not None and record.decision.flag is not None and not seen:
            (listed,) = home.shell("list")[1]
            seen.append(msgspec.convert(listed, FineTune))
            home.shell("reject", listed["fine_tune_id"], "--reason", "the weights are fine", "--by", "ann")

    records = home.run(reject)
    raised = [each.decision.flag if each.decision else None for each in records]
    (first, second) = (pane for pane, flag in enumerate(raised) if flag is not None)
    assert (seen[0].flag, seen[0].status) == (raised[first], FineTuneStatus.FLAGGED)
    states = [each.fine_tune.is_flagged for each in records if each.fine_tune is not None]
    assert states == [pane == first or pane >= second for pane in range(len(records) - len(states), len(records))]
    assert [each.flag_answer for each in records] == [
        FlagAnswer.REJECTED if pane == first + 1 else None for pane in range(len(records))
    ]
    assert [each["status"] for each in home.shell("list")[1]] == ["flagged", "rejected"]
    # An answer is an input of the decision, so decisions are replayed to the same whatever is answered later.
    home.shell("reject", home.shell("list")[1][0]["fine_tune_id"], "--reason", "nor these", "--by", "ann")
    assert run_cleanly(cli, ["decisions", "replay", "--home", str(home.home)]) == 0


def test_a_fine_tune_of_a_run_goes_from_its_flag_into_service(home: Home) -> None:
    home.run()
    shell, (flagged,) = home.shell, home.shell("list")[1]
    asked = flagged["fine_tune_id"]
    code, found = shell("run", asked)
    assert (code, found["status"]) == (1, "halted")  # a training of few samples is not worth serving
    lost = [verdict["gate"] for verdict in found["gates"] if not verdict["is_passed"]]
    assert lost
    assert not {"files", "manifest", "base", "tokenizer", "codebook", "weights", "samples", "held_out"} & set(lost)
    folder = home.home / "finetunes" / asked
    made = {"samples/manifest.json", "training/report.json", "training/report.html", "gates/verdicts.json"}
    assert {name for name in made if not (folder / name).is_file()} == set()
    assert open_candidate(folder / "candidate").fingerprint == found["candidate_fingerprint"]
    assert found["steps"][2]["numbers"]["n_taught"] > 200
    assert found["steps"][3]["numbers"].keys() >= {"recall", "base_recall", "popular_recall"}

    code, found = shell("approve", asked, "--reason", "never mind the gates", "--by", "ann")
    assert (code, "it is halted" in found) == (2, True)
    code, found = shell("proceed", asked, "--reason", "it is a test", "--by", "ann")
    assert (code, found["status"]) == (0, "pending_review")
    code, found = shell("approve", asked, "--reason", "it is a test", "--by", "bob")
    assert (code, found["status"]) == (0, "serving")
    assert [(step["action"], step["by"]) for step in found["steps"][-3:-1]] == [("proceed", "ann"), ("approve", "bob")]
    assert shell("approve", asked, "--reason", "again", "--by", "ann") == (0, found)
    (serving,) = [each for each in _weights(home.home) if each["fine_tune_id"] == asked]
    assert serving["fingerprint"] == found["candidate_fingerprint"]
    assert shell("reject", asked, "--reason", "too late", "--by", "ann")[0] == 2


def _weights(home: Path) -> list[dict[str, Any]]:
    paths = sorted((home / "models").glob("*/v*/weights.json"))
    return [msgspec.json.decode(path.read_bytes()) for path in paths]
