"""Runs take approved weights on at their next pane, ask all rows anew, and go back the same way."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from refresh.bulk import BulkOptions
from refresh.engines.adapter import open_adapter
from refresh.engines.embedded import EmbeddedEngine
from refresh.engines.model_files import WEIGHTS
from refresh.finetune.book import known
from refresh.finetune.candidate import CandidateKind, open_candidate
from refresh.finetune.lifecycle import Actor, curated, flagged, judged, take, trained
from refresh.finetune.mlflow_registry import MlflowRegistry
from refresh.prompts import RowContexts
from refresh.table_store import TableStore
from refresh.weights import WeightsStore
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes
from stream.run_reader import RunReader
from tests.fine_tunes import MemoryBook
from tests.refresh.adapters import write_adapter
from tests.refresh.candidates import candidate_of
from tests.refresh.random_models import write_random_model
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli import finetuning
from tidegate.cli.assembly import assemble
from tidegate.cli.by_hand import HandRefresh
from tidegate.cli.errors import run_cleanly
from tidegate.cli.last_window import open_last_window
from tidegate.cli.main import cli
from tidegate.cli.mlflow_alias import move_alias
from tidegate.cli.pipeline import Pipeline
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.cli.refresh_bars import RefreshBars
from tidegate.cli.weights_serving import WeightsServing, weights_serving_of
from tidegate.clock import SystemClock
from tidegate.config import RunSettings, load_settings
from tidegate.contracts import (
    FineTune,
    FineTuneAction,
    FineTuneFlag,
    FineTuneReason,
    FineTuneStatus,
    GateVerdict,
    Reason,
    Trigger,
)
from tidegate.counts import unpack_pairs
from tidegate.errors import EngineError, FineTuneError, RequestError, TransitionError
from tidegate.group_config import GroupSettings

# Weights that nobody taught answer anything: gates over the table are not the matter here.
LOOSE = {"min_label_mass": 0.0, "min_exact_match": 0.0, "hit_loss_z": 1e9, "max_changed_full": 1.0}
FLAGS: dict[str, Any] = {
    **SYNTHETIC, **LOOSE, "engine": "embedded", "max_changed_selective": 1.0, "window": "1d", "price": 0.05,
}  # fmt: skip
VERDICT = GateVerdict(gate="recall", found=1.0, required=0.5, is_passed=True, sentence="recall is 1")


@dataclass(frozen=True)
class Weights:
    """A log, and weights for its catalogue: the run's own, two candidates and an adapter."""

    log: Path
    base: Path
    others: list[Path]
    adapter: Path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("weights")
    log = small_log(folder, days=7, sessions=250)
    flags = {**FLAGS, "engine": "frequency"}
    summary = run_quietly(log, folder / "home", **flags)
    names = RunReader(Database(folder / "home" / "runs.db"), summary["run_id"]).cluster_names()
    base, *others = (write_random_model(folder / f"model-{n}", names, seed=n) for n in range(3))
    return Weights(log, base, others, write_adapter(folder / "adapter", base, seed=5))


@dataclass
class Home:
    """A run's home, and what is decided on its fine-tunes."""

    home: Path
    weights: Weights

    def run(self, on_record: Callable[[PaneRecord], None] = lambda _: None, **hooks: Any) -> list[PaneRecord]:
        """Run to the end; returns all records."""
        with assemble(self.settings, SystemClock()) as assembly:
            self.run_id = assembly.parts.store.run_id
            pipeline = Pipeline(assembly.parts, assembly.last_record, on_record, **hooks)
            assembly.parts.worker.run(pipeline.on_pane, pipeline.resume(), should_stop=threading.Event().is_set)
            return [decode_record(body) for body in assembly.parts.store.records().values()]

    def finish(self) -> None:
        """Let the next run start over."""
        with assemble(self.settings, SystemClock()) as assembly:
            assembly.parts.store.finish()

    @property
    def settings(self) -> RunSettings:
        flags = {**FLAGS, "model": self.weights.base, "source": str(self.weights.log), "home": self.home}
        return load_settings(flags)

    @property
    def store(self) -> WeightsStore:
        return WeightsStore(self.home / "models" / self.run_id)

    def serving(self) -> WeightsServing:
        return weights_serving_of(Database(self.home / "runs.db"), self.home, SystemClock())

    def approved(self, name: str, source: Path, kind: CandidateKind = CandidateKind.FULL) -> FineTune:
        """Put a fine-tune that a person has approved into the store."""
        folder = self.home / "finetunes" / name
        found = candidate_of(source, folder / "candidate", base=self.weights.base, kind=kind)
        machine, person = Actor("machine", 1), Actor("ada", 2, is_person=True)
        flag = FineTuneFlag(flag_id=name, window_end_ms=86_400_000, reason=FineTuneReason.AGE, numbers={})
        record = take(flagged(flag, self.run_id, 1), FineTuneAction.BEGIN, machine, "")
        record = curated(record, machine, base_fingerprint=None, sample_checksum="s", numbers={})
        record = trained(record, machine, candidate_fingerprint=found, numbers={})
        record = take(judged(record, machine, (VERDICT,)), FineTuneAction.APPROVE, person, "better")
        book, revision = StoredFineTunes(Database(self.home / "runs.db")), 1
        for revision in range(1, record.revision + 1):
            assert book.put(msgspec.structs.replace(record, revision=revision))
        return record

    def serve(self, name: str, source: Path, kind: CandidateKind = CandidateKind.FULL) -> None:
        """Approve it, and let it serve."""
        record = self.serving().book.get(name) or self.approved(name, source, kind)
        after = self.serving().carry_out(record, Actor("ada", 2, is_person=True))
        assert after.status is FineTuneStatus.SERVING

    def status(self, name: str) -> FineTuneStatus:
        return known(StoredFineTunes(Database(self.home / "runs.db")), name).status

    def answers(self, record: PaneRecord, engine: EmbeddedEngine) -> tuple[np.ndarray, np.ndarray]:
        """What the table says after a pane, and what the engine says to the same rows."""
        assert record.table_version is not None
        table = TableStore(self.home / "tables").load(record.table_version)
        c1, c2 = unpack_pairs(table.pairs)
        asked = engine.infer(RowContexts(c1, c2, table.contexts[:, None]), top_n=5)
        return table.clusters, asked.clusters


@pytest.fixture
def home(tmp_path: Path, weights: Weights) -> Home:
    return Home(tmp_path / "home", weights)


def names_of(home: Home) -> list[str]:
    return RunReader(Database(home.home / "runs.db"), home.run_id).cluster_names()


class Killed(BaseException):
    """The process dies here."""


def at(pane: int, action: Callable[[], object]) -> Callable[[PaneRecord], None]:
    """Do something once the n-th pane is recorded."""
    seen: list[int] = []

    def look(record: PaneRecord) -> None:
        seen.append(record.pane)
        if len(seen) == pane:
            action()

    return look


def all_of(hooks: list[Callable[[PaneRecord], None]]) -> Callable[[PaneRecord], None]:
    def look(record: PaneRecord) -> None:
        for hook in hooks:
            hook(record)

    return look


@pytest.fixture(scope="module")
def swapped(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, list[PaneRecord]]:
    """A run that takes new weights on at its fifth pane; look only."""
    home = Home(tmp_path_factory.mktemp("swapped") / "home", weights)
    return home, home.run(at(4, lambda: home.serve("ft-1", home.weights.others[0])))


def test_the_next_pane_asks_every_row_of_the_table_anew(swapped: tuple[Home, list[PaneRecord]]):
    home, records = swapped
    before, record = records[3], records[4]
    assert (before.weights, record.weights, record.weights_since_pane) == (None, 2, record.pane)
    assert record.model == str(home.store.path(2))
    assert record.decision is not None
    assert record.decision.order is not None
    assert record.result is not None
    table = TableStore(home.home / "tables").load(before.table_version or 0)
    assert record.decision.order.trigger is Trigger.FINE_TUNE
    anew = {(row.c1, row.c2) for row in record.decision.order.rows if row.reason is Reason.FINE_TUNE}
    c1, c2 = unpack_pairs(table.pairs)
    retired = set(record.decision.order.retired)
    assert anew == set(zip(c1.tolist(), c2.tolist(), strict=True)) - retired
    assert record.result.llm_calls == len(record.decision.order.rows) > 10
    assert record.result.reused == 0
    assert (record.asks_anew, records[5].asks_anew) == (False, False)
    engine = EmbeddedEngine(home.weights.others[0], names_of(home))
    served, said = home.answers(record, engine)
    np.testing.assert_array_equal(served, said)


def test_the_state_of_the_weights_starts_anew_and_refreshes_go_on_from_them(swapped: tuple[Home, list[PaneRecord]]):
    home, records = swapped
    assert records[3].fine_tune is not None
    assert records[3].fine_tune.n_level_panes > 0
    tuned, later = records[4].fine_tune, records[5].fine_tune
    assert tuned is not None
    assert later is not None
    assert (tuned.tuned_window_end_ms, tuned.n_level_panes, later.n_level_panes) == (86_400_000, 0, 1)
    assert {record.weights for record in records[5:]} == {2}
    ordered = [record for record in records[5:] if record.decision and record.decision.order]
    assert ordered
    assert {record.result.trigger for record in ordered if record.result} == {Trigger.POLICY}
    engine = EmbeddedEngine(home.weights.others[0], names_of(home))
    served, said = home.answers(records[-2], engine)
    np.testing.assert_array_equal(served, said)


def test_rollback_gives_the_former_bits_and_takes_known_rows_for_nothing(home: Home):
    def back() -> None:
        home.serving().rollback(home.run_id, by="bob", why="worse")

    hooks = [at(4, lambda: home.serve("ft-1", home.weights.others[0])), at(5, back)]
    records = home.run(all_of(hooks))
    assert [record.weights for record in records[3:]] == [None, 2, *[1] * (len(records) - 5)]
    assert home.status("ft-1") is FineTuneStatus.RETIRED
    result = records[5].result
    assert result is not None
    assert (result.trigger, result.model) == (Trigger.FINE_TUNE, str(home.store.path(1)))
    assert result.reused > 0
    served, said = home.answers(records[5], EmbeddedEngine(home.weights.base, names_of(home)))
    np.testing.assert_array_equal(served, said)


def test_an_adapter_serves_on_the_runs_own_weights(home: Home):
    records = home.run(at(4, lambda: home.serve("ft-1", home.weights.adapter, CandidateKind.LORA)))
    assert records[4].weights == 2
    engine = EmbeddedEngine(home.weights.base, names_of(home), adapter=open_adapter(home.weights.adapter))
    served, said = home.answers(records[4], engine)
    np.testing.assert_array_equal(served, said)


def test_a_run_that_was_killed_amid_a_pane_ends_it_with_the_weights_that_it_began_it_with(home: Home):
    def die(n_done: int, n_rows: int) -> None:
        if home.store.serving() is not None:
            raise Killed

    with pytest.raises(Killed):
        home.run(at(4, lambda: home.serve("ft-1", home.weights.others[0])), on_rows=die)
    home.serving().rollback(home.run_id, by="bob", why="worse")
    records = home.run()
    assert [record.weights for record in records[3:6]] == [None, 2, 1]


def test_decisions_on_new_weights_are_made_again_to_the_same(swapped: tuple[Home, list[PaneRecord]]):
    home, _ = swapped
    replayed = CliRunner().invoke(cli, ["decisions", "replay", "--home", str(home.home)])
    assert replayed.exit_code == 0, replayed.output


def test_what_weights_know_is_learned_from_their_rows_and_begins_anew_with_others(
    swapped: tuple[Home, list[PaneRecord]],
) -> None:
    _, records = swapped
    at = next(i for i, record in enumerate(records) if record.weights_since_pane == record.pane)
    states = [record.policy_state for record in records[at - 1 : at + 2]]
    before, begun, after = ([] if state is None else [lift.n_left for lift in state.lifts] for state in states)
    assert sum(before) > 0  # weights that nobody taught leave their lines
    assert begun == []
    assert sum(after) > 0


def test_decisions_are_made_again_the_same_where_sequences_go_on_beyond_their_pane(weights: Weights, tmp_path: Path):
    home = tmp_path / "home"
    run_quietly(weights.log, home, **{**FLAGS, "gap": "none", "model": weights.base})
    (run_id,) = RunReader.known_runs(Database(home / "runs.db"))
    bodies = RunReader(Database(home / "runs.db"), run_id).records().values()
    assert any(decode_record(body).since_fine_tune is not None for body in bodies)
    replayed = CliRunner().invoke(cli, ["decisions", "replay", "--home", str(home)])
    assert replayed.exit_code == 0, replayed.output


def test_a_fine_tune_that_replaces_another_retires_it_and_retiring_what_serves_goes_back(home: Home):
    def second() -> None:
        home.serve("ft-2", home.weights.others[1])

    hooks = [at(4, lambda: home.serve("ft-1", home.weights.others[0])), at(5, second)]
    records = home.run(all_of(hooks))
    assert [record.weights for record in records[3:6]] == [None, 2, 3]
    assert (home.status("ft-1"), home.status("ft-2")) == (FineTuneStatus.RETIRED, FineTuneStatus.SERVING)
    serving, book = home.serving(), home.serving().book
    person = Actor("bob", 3, is_person=True)
    retired = take(known(book, "ft-2"), FineTuneAction.RETIRE, person, "worse")
    assert book.put(retired)
    assert serving.carry_out(retired, person).status is FineTuneStatus.RETIRED
    assert (home.status("ft-1"), home.status("ft-2")) == (FineTuneStatus.SERVING, FineTuneStatus.RETIRED)
    assert home.store.serving() == home.store.get(2)


def test_letting_it_serve_twice_moves_the_pointer_once(swapped: tuple[Home, list[PaneRecord]]):
    home, _ = swapped
    record = known(home.serving().book, "ft-1")
    home.serving().carry_out(record, Actor("ada", 9, is_person=True))
    assert len(home.store.moves()) == 1


def test_a_run_that_starts_over_starts_without_its_fine_tunes(home: Home):
    home.run(at(4, lambda: home.serve("ft-1", home.weights.others[0])))
    home.finish()
    again = home.run()
    assert {record.weights for record in again} == {None}
    assert len(home.store.versions()) == 2


def test_what_no_person_approved_or_was_not_judged_never_serves(home: Home):
    home.run()
    serving = home.serving()
    record = home.approved("ft-1", home.weights.others[0])
    last = serving.last_record(home.run_id)
    assert last is not None
    unapproved = msgspec.structs.replace(record, steps=record.steps[:-1])
    with pytest.raises(TransitionError, match="no person has approved it"):
        serving.serve(unapproved, last, by="ada", why="")
    with pytest.raises(FineTuneError, match="not the one that was judged"):
        serving.serve(msgspec.structs.replace(record, candidate_fingerprint="x"), last, by="ada", why="")
    with pytest.raises(FineTuneError, match="knows no weights"):
        serving.serve(record, msgspec.structs.replace(last, model=None), by="ada", why="")
    stale = home.approved(
        "ft-2", write_adapter(home.home / "stale", home.weights.others[0], seed=8), CandidateKind.LORA
    )
    home.serve("ft-1", home.weights.others[0])
    with pytest.raises(EngineError, match="began from the base"):
        serving.carry_out(stale, Actor("ada", 4, is_person=True))
    assert home.store.serving() == home.store.get(2)


def said(home: Path, *arguments: str) -> Any:
    """Output of ``tidegate weights … --json``."""
    result = CliRunner().invoke(cli, ["weights", *arguments, "--home", str(home), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return msgspec.json.decode(result.stdout)


def test_versions_are_listed_with_who_let_them_serve(swapped: tuple[Home, list[PaneRecord]]):
    home, _ = swapped
    tuned, base = said(home.home, "list")
    assert (tuned["version"], tuned["serves"], tuned["parent"], tuned["fine_tune_id"]) == (2, True, 1, "ft-1")
    assert [(move["by"], move["why"], move["before"]) for move in tuned["moves"]] == [("ada", "better", 0)]
    assert (base["version"], base["serves"], base["moves"]) == (1, False, [])
    printed = CliRunner().invoke(cli, ["weights", "list", "--home", str(home.home), "--run", home.run_id])
    assert "by ada: better" in printed.output


def test_one_command_goes_back_and_says_where_there_is_nothing_to_go_back_to(
    swapped: tuple[Home, list[PaneRecord]], tmp_path: Path
):
    copied = Home(Path(shutil.copytree(swapped[0].home, tmp_path / "copy")), swapped[0].weights)
    copied.run_id = swapped[0].run_id
    found = said(copied.home, "rollback", "--reason", "hits fell", "--by", "bob")
    assert found == {"run_id": copied.run_id, "version": 1, "reason": "hits fell"}
    assert (copied.store.moves()[-1].by, copied.status("ft-1")) == ("bob", FineTuneStatus.RETIRED)
    again = CliRunner().invoke(cli, ["weights", "rollback", "--reason", "more", "--home", str(copied.home)])
    assert isinstance(again.exception, RequestError)
    assert "version 1 is the first there was" in str(again.exception)


@dataclass
class Registry:
    """Stands for MLflow: what the alias names, and whether it is away."""

    named: list[str | None] = field(default_factory=list)
    is_away: bool = False

    def register(self, record: FineTune, folder: Path, *, mend: str) -> str:
        assert open_candidate(folder).fingerprint == record.candidate_fingerprint
        return str(self._named(record.fine_tune_id, mend))

    def withdraw(self, run_id: str, *, mend: str) -> bool:
        return self._named(None, mend) is None

    def _named(self, name: str | None, mend: str) -> str | None:
        if self.is_away:
            raise FineTuneError("MLflow did not take it", mend, place="mlflow")
        self.named.append(name)
        return name


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    monkeypatch.setattr(finetuning, "open_registry", lambda *_: made)
    monkeypatch.setenv("TIDEGATE_MLFLOW_URL", "http://mlflow:5000")
    return made


def test_the_alias_follows_the_weights_back_and_forth_and_nothing_depends_on_it(
    swapped: tuple[Home, list[PaneRecord]], tmp_path: Path, registry: Registry
):
    copied = Home(Path(shutil.copytree(swapped[0].home, tmp_path / "copy")), swapped[0].weights)
    copied.run_id = swapped[0].run_id
    back = ["weights", "rollback", "--reason", "hits fell", "--home", str(copied.home)]
    assert said(copied.home, *back[1:4])["mlflow_version"] is None
    forward = CliRunner().invoke(cli, [*back, "--to", "2"])
    assert "the alias serving of tidegate names ft-1 in MLflow" in forward.output
    assert registry.named == [None, "ft-1"]
    registry.is_away = True
    assert run_cleanly(cli, back) == 1
    serving = copied.store.serving()
    assert serving is not None
    assert (serving.version, copied.status("ft-1")) == (1, FineTuneStatus.RETIRED)
    registry.is_away, n_moves = False, len(copied.store.moves())
    assert run_cleanly(cli, [*back, "--to", "1"]) == 0  # serves already: the alias alone is moved
    assert (registry.named, len(copied.store.moves())) == ([None, "ft-1", None], n_moves)


def test_retiring_what_serves_takes_the_alias_along(
    swapped: tuple[Home, list[PaneRecord]], tmp_path: Path, registry: Registry
):
    copied = Path(shutil.copytree(swapped[0].home, tmp_path / "copy"))
    assert run_cleanly(cli, ["finetune", "retire", "ft-1", "--reason", "hits fell", "--home", str(copied)]) == 0
    assert registry.named == [None]


def test_an_alias_stays_where_the_store_does_not_know_what_serves(
    swapped: tuple[Home, list[PaneRecord]], registry: Registry
):
    home, _ = swapped
    with pytest.raises(FineTuneError, match="the store does not know the fine-tune ft-1"):
        move_alias(cast(MlflowRegistry, registry), home.home, MemoryBook(), home.run_id, mend="")
    assert registry.named == []


def test_damaged_versions_are_named(swapped: tuple[Home, list[PaneRecord]], tmp_path: Path):
    copied = Path(shutil.copytree(swapped[0].home, tmp_path / "copy"))
    assert [row["is_sound"] for row in said(copied, "verify")] == [True, True]
    (copied / "models" / swapped[0].run_id / "v000002" / WEIGHTS).write_bytes(b"")
    found = CliRunner().invoke(cli, ["weights", "verify", "--home", str(copied)])
    assert found.exit_code == 1
    assert "not the one that was judged" in found.output
    assert "version 1 is sound" in found.output


@pytest.mark.parametrize("flags", [[], ["--run", "other"]])
def test_a_home_without_versions_says_what_makes_them(tmp_path: Path, flags: list[str]):
    found = CliRunner().invoke(cli, ["weights", "list", "--home", str(tmp_path), *flags])
    assert isinstance(found.exception, RequestError)
    assert "no run has versions of its weights. Approve a fine-tune first" in str(found.exception)


@pytest.mark.parametrize(
    ("flags", "found_out"), [([], "several runs with versions"), (["--run", "other"], "run other has no versions")]
)
def test_runs_that_have_versions_are_named(tmp_path: Path, flags: list[str], found_out: str):
    for run_id in ("a", "b"):
        (tmp_path / "models" / run_id / "v000001").mkdir(parents=True)
    found = CliRunner().invoke(cli, ["weights", "list", "--home", str(tmp_path), *flags])
    assert isinstance(found.exception, RequestError)
    assert found_out in str(found.exception)
    assert "with --run: a, b" in str(found.exception)


def test_a_refresh_by_hand_asks_the_weights_that_serve(swapped: tuple[Home, list[PaneRecord]], tmp_path: Path):
    copied = Path(shutil.copytree(swapped[0].home, tmp_path / "copy"))
    flags = {**FLAGS, "model": swapped[0].weights.base, "source": str(swapped[0].weights.log), "home": copied}
    settings = load_settings(flags, None, GroupSettings)
    with open_last_window(settings, None, RefreshBars(Console(quiet=True)), SystemClock()) as window:
        assert window.is_of_run
        hand = HandRefresh(settings, SystemClock(), window, "all", BulkOptions())
        assert hand.model == str(swapped[0].store.path(2))
