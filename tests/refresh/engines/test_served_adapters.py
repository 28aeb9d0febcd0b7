"""Adapters on a running server: loaded once under a name of their own, again where it has forgotten them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from refresh.engines.adapter import Adapter, TakesAdapters
from refresh.engines.completions import ServerOptions
from refresh.engines.openai import OpenAIEngine
from tests.refresh.fake_server import FakeServer, failing
from tests.refresh.tiny_world import N_CLUSTERS, NAMES, random_contexts
from tidegate.errors import EngineError, EngineUnavailableError

ONE = Adapter(Path("/weights/v000002"), "run-v000002-aa", "aa", 8, 1.0)
TWO = replace(ONE, folder=Path("/weights/v000003"), name="run-v000003-bb", fingerprint="bb")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer([f"<c{cluster:04d}>" for cluster in range(N_CLUSTERS)]) as fake:
        yield fake


def engine_of(server: FakeServer, adapter: Adapter | None = None) -> OpenAIEngine:
    options = ServerOptions(server.url, patience_seconds=60.0)
    return OpenAIEngine(options, NAMES, adapter=adapter, sleep=lambda _: None)


def asked_model(server: FakeServer, engine: OpenAIEngine) -> str:
    engine.infer(random_contexts(1), top_n=1)
    return str(server.bodies[-1]["model"])


def test_the_server_loads_an_adapter_from_its_folder_and_is_asked_by_its_name(server: FakeServer) -> None:
    engine = engine_of(server)
    assert isinstance(engine, TakesAdapters)
    base = engine.fingerprint
    engine.take(ONE)
    assert server.adapters == {ONE.name: "/weights/v000002"}
    assert (asked_model(server, engine), engine.fingerprint) == (ONE.name, ONE.on(base))
    engine.take(TWO)
    assert (asked_model(server, engine), engine.fingerprint) == (TWO.name, TWO.on(base))
    engine.take(None)
    assert (asked_model(server, engine), engine.fingerprint) == ("fake", base)


def test_an_adapter_that_is_there_is_not_loaded_again(server: FakeServer) -> None:
    for _ in range(2):
        engine = engine_of(server, ONE)
        engine.take(TWO)
        engine.take(ONE)
        assert asked_model(server, engine) == ONE.name
    assert server.adapters == {ONE.name: str(ONE.folder), TWO.name: str(TWO.folder)}


def test_a_server_that_was_started_anew_loads_it_again_before_it_is_asked(server: FakeServer) -> None:
    engine = engine_of(server, ONE)
    server.adapters = {}
    assert asked_model(server, engine) == ONE.name
    assert server.adapters == {ONE.name: str(ONE.folder)}


def test_adapters_do_not_count_as_models_where_none_is_named(server: FakeServer) -> None:
    engine_of(server, ONE)
    assert asked_model(server, engine_of(server)) == "fake"


def test_a_server_that_loads_no_adapters_is_told_how_to_and_the_base_goes_on_answering(server: FakeServer) -> None:
    engine = engine_of(server)
    before, server.adapters = engine.fingerprint, None
    with pytest.raises(EngineError, match="--enable-lora") as refused:
        engine.take(ONE)
    assert not isinstance(refused.value, EngineUnavailableError)
    assert (asked_model(server, engine), engine.fingerprint) == ("fake", before)


def test_a_server_that_fails_at_an_adapter_is_not_asked_again_and_again(server: FakeServer) -> None:
    engine = engine_of(server)
    server.replies = [failing(500)]
    with pytest.raises(EngineUnavailableError, match="answers 500"):
        engine.take(ONE)
    assert server.replies == []
    assert asked_model(server, engine) == "fake"


def test_an_adapter_is_let_go_of_unless_it_answers(server: FakeServer) -> None:
    engine = engine_of(server, ONE)
    engine.take(TWO)
    engine.forget(TWO)
    engine.forget(ONE)
    engine.forget(ONE)
    assert server.unloaded == [ONE.name]
