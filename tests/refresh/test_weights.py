"""Versions of weights: kept as they were judged, let serve one after the other, and always a way back."""

from __future__ import annotations

import shutil
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from refresh.engines.adapter import ADAPTER_WEIGHTS
from refresh.engines.model_files import MANIFEST, WEIGHTS
from refresh.finetune.candidate import CandidateKind
from refresh.served_weights import served_weights
from refresh.weights import DESCRIPTION, WeightsKind, WeightsStore, WeightsVersion
from tests.refresh.adapters import write_adapter
from tests.refresh.candidates import candidate_of
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import NAMES
from tidegate.clock import ManualClock
from tidegate.errors import EngineError, RequestError


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two candidates of whole weights and one adapter. Never change them."""
    folder = tmp_path_factory.mktemp("models")
    for n, name in enumerate(("base", "second", "third")):
        write_random_model(folder / name, NAMES, seed=n)
    candidate_of(folder / "second", folder / "ft-2", base=folder / "base")
    candidate_of(folder / "third", folder / "ft-3", base=folder / "second")
    adapter = write_adapter(folder / "adapter", folder / "base", seed=4)
    candidate_of(adapter, folder / "ft-4", base=folder / "base", kind=CandidateKind.LORA)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "run", ManualClock(1_000))


def added(store: WeightsStore, models: Path, name: str, parent: int) -> WeightsVersion:
    return store.add(models / name, parent=parent, fine_tune_id=name, window_end_ms=7)


@pytest.fixture
def two(store: WeightsStore, models: Path) -> WeightsStore:
    """The base, and a fine-tune that serves."""
    base = store.add_base(models / "base", window_end_ms=5)
    store.move(added(store, models, "ft-2", base.version).version, by="ada", why="better")
    return store


def test_nothing_serves_before_the_first_fine_tune(store: WeightsStore):
    assert (store.serving(), store.versions(), store.moves()) == (None, [], [])
    assert store.pick(3) is None


def test_a_fine_tune_serves_from_its_own_folder_with_the_base_as_its_parent(two: WeightsStore, models: Path):
    base, tuned = two.versions()
    assert (base.version, base.parent, base.fine_tune_id, base.window_end_ms) == (1, None, None, 5)
    assert (tuned.version, tuned.parent, tuned.fine_tune_id, tuned.window_end_ms) == (2, 1, "ft-2", 7)
    assert two.serving() == tuned
    assert (two.path(2) / WEIGHTS).read_bytes() == (models / "second" / WEIGHTS).read_bytes()
    assert [(move.version, move.before, move.by, move.why) for move in two.moves()] == [(2, 0, "ada", "better")]


def test_doing_it_again_makes_nothing_new(two: WeightsStore, models: Path):
    assert two.add_base(models / "base", window_end_ms=99).version == 1
    assert two.add_base(two.path(2), window_end_ms=99).version == 2
    assert added(two, models, "ft-2", 1).version == 2
    assert len(two.versions()) == 2


def test_rollback_goes_to_the_parent_and_each_move_is_written_down(two: WeightsStore, models: Path):
    third = added(two, models, "ft-3", 2)
    two.move(third.version, by="ada", why="newer")
    assert two.rollback(by="bob", why="worse").version == 2
    assert two.rollback(by="bob", why="worse still").version == 1
    with pytest.raises(RequestError, match="version 1 is the first there was"):
        two.rollback(by="bob", why="further")
    assert two.rollback(by="bob", why="forth", to=3).version == 3
    assert [(move.before, move.version) for move in two.moves()] == [(0, 2), (2, 3), (3, 2), (2, 1), (1, 3)]


def test_a_rollback_that_means_nothing_is_refused(store: WeightsStore, two: WeightsStore, tmp_path: Path):
    with pytest.raises(RequestError, match="no fine-tune serves"):
        WeightsStore(tmp_path / "other").rollback(by="bob", why="why not")
    with pytest.raises(RequestError, match="version 2 serves already"):
        two.rollback(by="bob", why="again", to=2)
    with pytest.raises(RequestError, match="no version v000009"):
        two.rollback(by="bob", why="wrong", to=9)
    assert len(two.moves()) == 1


def test_a_pane_keeps_the_weights_that_it_was_begun_with(two: WeightsStore):
    before = two.pick(4)
    two.rollback(by="bob", why="worse")
    again, after = WeightsStore(two.folder).pick(4), two.pick(5)
    assert before == again
    assert (before and before.version, after and after.version) == (2, 1)


def test_a_pane_that_began_before_any_fine_tune_stays_without(store: WeightsStore, models: Path):
    assert store.pick(4) is None
    base = store.add_base(models / "base", window_end_ms=5)
    store.move(added(store, models, "ft-2", base.version).version, by="ada", why="better")
    assert store.pick(4) is None
    assert store.pick(5) is not None


def test_a_run_that_starts_over_starts_without_fine_tunes_and_keeps_their_weights(two: WeightsStore):
    two.pick(4)
    two.start_over()
    two.start_over()
    assert (two.serving(), two.pick(4), len(two.versions()), len(two.moves())) == (None, None, 2, 2)


def test_the_folder_of_the_base_may_be_trained_into_again(store: WeightsStore, models: Path, tmp_path: Path):
    pane = Path(shutil.copytree(models / "base", tmp_path / "pane-3"))
    store.add_base(pane, window_end_ms=5)
    shutil.rmtree(pane)
    write_random_model(pane, NAMES, seed=9)
    store.verify(1)
    assert store.add_base(pane, window_end_ms=6).version == 2


def test_an_adapter_serves_on_the_whole_weights_beneath_what_serves(two: WeightsStore, models: Path):
    two.rollback(by="bob", why="adapters are for the base")
    adapted = added(two, models, "ft-4", 1)
    assert (adapted.kind, adapted.base, adapted.parent) == (WeightsKind.LORA, 1, 1)
    opened = served_weights(two.path(adapted.version))
    assert opened.base == two.path(1)
    assert opened.adapter is not None
    assert opened.adapter.name == adapted.name
    assert adapted.name.startswith("run-v000003-")


def test_an_adapter_for_another_base_becomes_no_version(two: WeightsStore, models: Path):
    with pytest.raises(EngineError, match="began from the base"):
        added(two, models, "ft-4", 2)
    assert len(two.versions()) == 2


def test_whole_weights_open_from_any_folder_and_a_server_knows_tuned_ones_by_their_version(
    two: WeightsStore, models: Path
):
    own, base, tuned = (served_weights(each) for each in (models / "base", two.path(1), two.path(2)))
    assert (own.base, own.adapter, own.name) == (models / "base", None, None)
    assert (base.name, tuned.name) == (None, two.get(2).name)


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_damaged_weights_serve_no_more(two: WeightsStore, name: str):
    path = two.path(1) / name
    content = path.read_bytes()
    path.unlink()  # a link to the model's own file
    path.write_bytes(content[:-1])
    with pytest.raises(EngineError, match="not the one that was judged"):
        two.rollback(by="bob", why="worse")
    with pytest.raises(EngineError, match="not the one that was judged"):
        served_weights(two.path(1))
    assert two.serving() == two.get(2)


def test_an_adapter_with_a_damaged_base_serves_no_more(two: WeightsStore, models: Path):
    adapted = added(two, models, "ft-4", 1)
    path = two.path(1) / WEIGHTS
    path.unlink()
    with pytest.raises(EngineError, match="not the one that was judged"):
        two.move(adapted.version, by="ada", why="better")


def test_a_damaged_candidate_becomes_no_version(store: WeightsStore, models: Path, tmp_path: Path):
    base = store.add_base(models / "base", window_end_ms=5)
    torn = Path(shutil.copytree(models / "ft-4", tmp_path / "torn"))
    (torn / ADAPTER_WEIGHTS).write_bytes((torn / ADAPTER_WEIGHTS).read_bytes()[:100])
    with pytest.raises(EngineError, match="checksum"):
        store.add(torn, parent=base.version, fine_tune_id="torn", window_end_ms=7)
    assert len(store.versions()) == 1


def test_a_description_that_cannot_be_read_is_named(two: WeightsStore):
    (two.path(2) / DESCRIPTION).write_text("{")
    with pytest.raises(EngineError, match="cannot be read"):
        two.serving()


def test_many_who_move_the_pointer_at_once_lose_no_move(two: WeightsStore):
    threads = [threading.Thread(target=two.move, args=(1 + n % 2,), kwargs={"by": f"{n}", "why": ""}) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moves = two.moves()
    assert sorted(move.by for move in moves[1:]) == [f"{n}" for n in range(8)]
    assert all(one.version == other.before for one, other in pairwise(moves))


def test_many_who_add_at_once_get_a_version_each(store: WeightsStore, models: Path):
    store.add_base(models / "base", window_end_ms=5)
    names = ["ft-2", "ft-3", "ft-4"]
    threads = [threading.Thread(target=added, args=(store, models, name, 1)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version.fine_tune_id or "" for version in store.versions()) == ["", *names]
    assert [version.version for version in store.versions()] == [1, 2, 3, 4]
