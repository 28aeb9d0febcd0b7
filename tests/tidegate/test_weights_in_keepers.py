"""Keepers change weights while a run goes on: an adapter where that is all, the whole model else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refresh.engines.adapter import Adapter
from refresh.engines.completions import ServerOptions
from refresh.engines.embedded import EmbeddedEngine
from refresh.finetune.candidate import CandidateKind
from refresh.weights import WeightsStore
from tests.refresh.adapters import write_adapter
from tests.refresh.candidates import candidate_of
from tests.refresh.fake_server import FakeServer
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import N_CLUSTERS, NAMES, random_contexts
from tidegate.cli import engine_keeper
from tidegate.cli.engine_keeper import ModelKeeper, ServerKeeper
from tidegate.counts import BucketedCounts
from tidegate.errors import EngineError, EngineUnavailableError

NOTHING = BucketedCounts.empty()


class AdaptableEngine(EmbeddedEngine):
    """The embedded engine, as if it took adapters while it is open."""

    opened: list[Path] = []  # noqa: RUF012
    refuses = False

    def __init__(self, folder: Path, names: Any, *, adapter: Adapter | None = None, **_: Any) -> None:
        super().__init__(folder, names, adapter=adapter)
        AdaptableEngine.opened.append(folder)
        self._folder, self.taken = folder, [adapter]

    def take(self, adapter: Adapter | None) -> None:
        if self.refuses:
            raise EngineError("no room", "Make some")
        self.taken.append(adapter)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightsStore:
    """Version 1 is the base, 2 an adapter on it, 3 another, 4 whole weights."""
    folder = tmp_path_factory.mktemp("weights")
    base, other = (write_random_model(folder / f"{n}", NAMES, seed=n) for n in range(2))
    store = WeightsStore(folder / "models" / "run")
    store.add_base(base, window_end_ms=0)
    for n, source in enumerate((write_adapter(folder / "a", base, seed=1), write_adapter(folder / "b", base, seed=2))):
        candidate_of(source, folder / f"ft-{n}", base=base, kind=CandidateKind.LORA)
        store.add(folder / f"ft-{n}", parent=1, fine_tune_id=f"{n}", window_end_ms=0)
    candidate_of(other, folder / "ft-2", base=base)
    store.add(folder / "ft-2", parent=1, fine_tune_id="2", window_end_ms=0)
    return store


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders of the models that were opened."""

    def open_engine(name: str, names: Any, *, model_folder: Path, adapter: Adapter | None, **_: Any) -> Any:
        return AdaptableEngine(model_folder, names, adapter=adapter)

    monkeypatch.setattr(engine_keeper, "open_engine", open_engine)
    monkeypatch.setattr(AdaptableEngine, "opened", [])
    return AdaptableEngine.opened


def of_version(keeper: Any, store: WeightsStore, version: int) -> Any:
    return keeper.engine(list(NAMES), NOTHING, 1, str(store.path(version)))


def test_an_adapter_on_the_same_base_is_taken_while_the_model_stays_open(
    store: WeightsStore, opened: list[Path], tmp_path: Path
) -> None:
    keeper = ModelKeeper(None, tmp_path, seed=0)
    engines = [of_version(keeper, store, version) for version in (1, 2, 3, 1)]
    assert all(engine is engines[0] for engine in engines)
    assert [each.name if each else None for each in engines[0].taken] == [
        None, store.get(2).name, store.get(3).name, None,
    ]  # fmt: skip
    assert keeper.model == str(store.path(1))


def test_whole_weights_and_adapters_without_room_open_the_model_anew(
    store: WeightsStore, opened: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = ModelKeeper(None, tmp_path, seed=0)
    first, whole = (of_version(keeper, store, version) for version in (1, 4))
    assert first is not whole
    monkeypatch.setattr(AdaptableEngine, "refuses", True)
    of_version(keeper, store, 1)
    adapted = of_version(keeper, store, 2)
    assert opened == [store.path(version) for version in (1, 4, 1, 1)]
    assert adapted.taken[0].name == store.get(2).name
    assert keeper.model == str(store.path(2))


def test_a_run_that_goes_on_opens_what_it_recorded(store: WeightsStore, tmp_path: Path) -> None:
    adapted, base = (of_version(ModelKeeper(None, tmp_path, seed=0), store, version) for version in (2, 1))
    assert adapted.fingerprint != base.fingerprint
    contexts = random_contexts(50)
    assert (adapted.infer(contexts, top_n=1).clusters != base.infer(contexts, top_n=1).clusters).any()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer([f"<c{cluster:04d}>" for cluster in range(N_CLUSTERS)]) as fake:
        fake.n_tokens_per_code = 1
        yield fake


def test_a_server_keeps_the_adapter_that_was_replaced_and_lets_go_of_older_ones(
    store: WeightsStore, server: FakeServer
) -> None:
    keeper = ServerKeeper(None, {"server": ServerOptions(server.url)})
    of_version(keeper, store, 1)
    of_version(keeper, store, 2)
    assert list(server.adapters or ()) == [store.get(2).name]
    of_version(keeper, store, 3)
    assert list(server.adapters or ()) == [store.get(2).name, store.get(3).name]
    of_version(keeper, store, 2)
    assert server.unloaded == []


def test_whole_weights_wait_until_the_server_has_them_and_what_answered_still_does(
    store: WeightsStore, server: FakeServer
) -> None:
    keeper = ServerKeeper(None, {"server": ServerOptions(server.url)})
    before = of_version(keeper, store, 1)
    name = store.get(4).name
    with pytest.raises(EngineUnavailableError, match=f"Serve .* under the name {name}"):
        of_version(keeper, store, 4)
    assert keeper.model == str(store.path(1))
    assert of_version(keeper, store, 1) is before
    server.served.append(name)
    of_version(keeper, store, 4)
    assert keeper.model == str(store.path(4))
