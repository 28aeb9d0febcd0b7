"""What flags say of engines reaches them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refresh.prompts import Description, Scoring
from tests.refresh.conftest import TinyModel, tiny_model
from tests.refresh.fake_server import FakeServer
from tests.refresh.tiny_world import N_CLUSTERS, NAMES, random_contexts
from tidegate.cli.engine_keeper import ModelKeeper, ServerKeeper, open_keeper
from tidegate.cli.engine_settings import asking_of, engine_options, server_options
from tidegate.config import RunSettings, load_settings
from tidegate.counts import BucketedCounts
from tidegate.errors import CatalogueError, ConfigError, EngineError, RequestError

__all__ = ["tiny_model"]

NOTHING = BucketedCounts.empty()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer([f"<c{cluster:04d}>" for cluster in range(N_CLUSTERS)]) as fake:
        yield fake


def settings_of(**flags: Any) -> RunSettings:
    return load_settings({"source": "log.csv", **flags})


def test_the_server_is_asked_as_the_flags_say() -> None:
    options = server_options(
        settings_of(
            engine_url="http://there", engine_model="m", api_key="k", engine_concurrency=3, engine_timeout="90s",
            engine_patience="1.5m",
        )
    )  # fmt: skip
    assert (options.url, options.model, options.api_key, options.concurrency) == ("http://there", "m", "k", 3)
    assert (options.timeout_seconds, options.patience_seconds) == (90.0, 90.0)


def test_a_server_must_be_named() -> None:
    with pytest.raises(ConfigError, match="--engine-url"):
        open_keeper(settings_of(engine="openai"), "run")


@pytest.mark.parametrize("name", ["engine_timeout", "engine_patience"])
def test_a_duration_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match=f"--{name.replace('_', '-')}"):
        settings_of(**{name: "soon"})


def test_vllms_arguments_are_numbers_switches_and_texts() -> None:
    given = {"tensor_parallel_size": "2", "enforce_eager": "true", "dtype": "float32", "gpu_memory_utilization": "0.8"}
    assert engine_options(settings_of(engine_options=given)) == {
        "tensor_parallel_size": 2, "enforce_eager": True, "dtype": "float32", "gpu_memory_utilization": 0.8,
    }  # fmt: skip


def test_vllms_arguments_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_ENGINE_OPTIONS", '{"tensor_parallel_size": "4"}')
    assert engine_options(settings_of()) == {"tensor_parallel_size": 4}


def test_a_foreign_model_is_asked_as_the_flags_say(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('cluster,keywords\njazz,"sax, swing"\n')
    (tmp_path / "mine.v3.txt").write_text("After {name1} and {name2}: {retrieved_keywords}?")
    flags = {"catalogue": tmp_path / "c.csv", "scoring": "description", "described_by": "keywords"}
    asking = asking_of(settings_of(**flags, template=str(tmp_path / "mine.v3.txt")))
    assert asking.template is not None
    assert asking.template.name == "mine.v3"
    assert (asking.scoring, asking.described_by) == (Scoring.DESCRIPTION, Description.KEYWORDS)
    assert asking.keywords == {"jazz": "sax, swing"}
    packaged = asking_of(settings_of(template="next_interest_text.v1")).template
    assert packaged is not None
    assert packaged.name == "next_interest_text.v1"


def test_a_template_or_catalogue_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no prompt template 'mine\.v1'"):
        asking_of(settings_of(template="mine.v1"))
    with pytest.raises(ConfigError, match="cannot be read"):
        asking_of(settings_of(template=str(tmp_path / "mine.v1.txt")))
    with pytest.raises(CatalogueError, match="no such file"):
        asking_of(settings_of(catalogue=tmp_path / "c.csv"))


def test_a_server_is_found_once_and_the_catalogue_grows(server: FakeServer) -> None:
    keeper = open_keeper(settings_of(engine="openai", engine_url=server.url, engine_patience="5s"), "run")
    assert isinstance(keeper, ServerKeeper)
    engine = keeper.engine(list(NAMES), NOTHING, 1, None)
    n_asked = len(server.bodies)
    assert keeper.engine([*NAMES, "new"], NOTHING, 2, None) is engine
    assert len(server.bodies) == n_asked
    assert engine.prompts.codebook.names[-1] == "new"
    assert keeper.model is None
    assert (engine.infer(random_contexts(5), top_n=1).clusters >= 0).all()


def test_a_served_models_folder_says_what_it_was_taught(server: FakeServer, tiny_model: TinyModel) -> None:
    settings = settings_of(engine="openai", engine_url=server.url, model=tiny_model.folder)
    names = [*NAMES, *(f"new {n}" for n in range(100))]
    keeper = open_keeper(settings, "run")
    with pytest.raises(EngineError, match="token"):  # the fake server cannot read ids, and says so by nonsense
        server.replies = [lambda handler, _: handler.send(200, {"choices": "token"})]
        keeper.engine(names, NOTHING, 1, None)
    server.replies = [lambda handler, _: handler.send(400, {})]
    engine = keeper.engine(names, NOTHING, 1, None)
    assert engine.prompts.codebook.capacity == 64
    assert keeper.model == str(tiny_model.folder)


def test_vllm_is_kept_as_the_embedded_model_is(tmp_path: Path) -> None:
    keeper = open_keeper(settings_of(engine="vllm", home=tmp_path, model=tmp_path / "gone"), "run")
    assert isinstance(keeper, ModelKeeper)
    with pytest.raises(EngineError, match="gone: There is no such folder"):
        keeper.engine(list(NAMES), NOTHING, 1, None)
