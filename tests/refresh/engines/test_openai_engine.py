"""Servers that are dead, slow, over their limit or wrong: a clear error, or the same answers a little later."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refresh.engines import Engine, open_engine
from refresh.engines.code_model import Asking
from refresh.engines.completions import ServerOptions
from refresh.engines.openai import OpenAIEngine
from refresh.prompts import Scoring, Template
from tests.refresh.conftest import TinyModel
from tests.refresh.fake_server import FakeServer, Reply, breaking_off, dripping, failing, saying, too_slow
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import N_CLUSTERS, NAMES, random_contexts
from tidegate.errors import CatalogueError, ConfigError, EngineError, EngineUnavailableError

CODES = [f"<c{cluster:04d}>" for cluster in range(N_CLUSTERS)]
KEY = "sk-of-nobody"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(CODES) as fake:
        yield fake


@pytest.fixture
def slept() -> list[float]:
    """Pauses that were asked for; none is made."""
    return []


def engine_of(server: FakeServer, slept: list[float], **options: Any) -> OpenAIEngine:
    return OpenAIEngine(options_of(server, **options), NAMES, sleep=slept.append)


def options_of(server: FakeServer, **options: Any) -> ServerOptions:
    return replace(ServerOptions(server.url, api_key=KEY, patience_seconds=60.0), **options)


def test_answers_come_in_the_order_of_the_rows_whatever_the_servers_order(
    server: FakeServer, slept: list[float]
) -> None:
    engine, contexts = engine_of(server, slept, rows_per_request=7), random_contexts(40)
    whole = engine.infer(contexts, top_n=3)
    order = np.random.default_rng(2).permutation(40)
    np.testing.assert_array_equal(engine.infer(contexts[order], top_n=3).clusters, whole.clusters[order])
    one_by_one = engine_of(server, slept, rows_per_request=1, concurrency=1).infer(contexts, top_n=3)
    np.testing.assert_array_equal(one_by_one.clusters, whole.clusters)
    assert whole.usage.n_prompts == 40


def test_a_row_has_as_many_ranks_as_codes_are_among_the_best_tokens(server: FakeServer, slept: list[float]) -> None:
    answers = engine_of(server, slept).infer(random_contexts(20), top_n=8)
    assert (answers.clusters[:, :5] >= 0).all()
    assert (answers.clusters[:, 5:] == -1).all()
    np.testing.assert_allclose(answers.probabilities[0, :2], np.exp([-1.0, -2.0]), rtol=1e-6)


def test_the_only_model_of_a_server_need_not_be_named(server: FakeServer, slept: list[float]) -> None:
    engine_of(server, slept).infer(random_contexts(1), top_n=1)
    assert server.bodies[-1]["model"] == "fake"
    assert server.headers[-1]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("served", [["a", "b"], []])
def test_one_of_several_models_must_be_named(server: FakeServer, slept: list[float], served: list[str]) -> None:
    server.served = served
    with pytest.raises(EngineError, match=r"has (a, b|no model), and none was named\. .*--engine-model"):
        engine_of(server, slept)


@pytest.mark.parametrize(
    "reply",
    [failing(503), failing(429), failing(500), failing(408), breaking_off],
    ids=["503", "429", "500", "408", "broken off"],
)
def test_what_may_pass_is_asked_again(server: FakeServer, slept: list[float], reply: Reply) -> None:
    engine, contexts = engine_of(server, slept, concurrency=1), random_contexts(40)
    undisturbed = engine.infer(contexts, top_n=2)
    server.replies = [reply, reply]
    np.testing.assert_array_equal(engine.infer(contexts, top_n=2).clusters, undisturbed.clusters)
    assert len(slept) == 2


def test_an_answer_that_breaks_off_is_no_answer(server: FakeServer, slept: list[float]) -> None:
    engine = engine_of(server, slept, concurrency=1)
    server.replies = [breaking_off] * 100
    with pytest.raises(EngineUnavailableError, match="peer closed connection"):
        engine.infer(random_contexts(1), top_n=1)


@pytest.mark.parametrize(("header", "least", "most"), [("7", 7, 7), (formatdate(4e9, usegmt=True), 60, 4e9)])
def test_retry_after_is_heeded_within_patience(
    server: FakeServer, slept: list[float], header: str, least: float, most: float
) -> None:
    engine = engine_of(server, slept, concurrency=1)
    server.replies = [failing(429, Retry_After=header)]
    if least < 60:
        engine.infer(random_contexts(1), top_n=1)
        assert least <= slept[0] <= most
    else:  # in decades
        with pytest.raises(EngineUnavailableError, match="answers 429"):
            engine.infer(random_contexts(1), top_n=1)
        assert not slept


def test_a_retry_after_that_is_nonsense_is_like_none(server: FakeServer, slept: list[float]) -> None:
    engine = engine_of(server, slept, concurrency=1)
    server.replies = [failing(429, Retry_After="soon")]
    engine.infer(random_contexts(1), top_n=1)
    assert len(slept) == 1


def test_patience_ends_and_says_so(server: FakeServer, slept: list[float]) -> None:
    engine = engine_of(server, slept, concurrency=1)
    server.replies = [failing(429, Retry_After="25")] * 100
    with pytest.raises(EngineUnavailableError, match=r"answers 429 .*after 3 tries within 60 s\. .*--engine-patience"):
        engine.infer(random_contexts(1), top_n=1)
    assert slept == [25.0, 25.0]


def test_a_dead_server_is_named(slept: list[float]) -> None:
    with socket.socket() as held:  # bound, so that nobody else is there, and not listening
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(EngineUnavailableError, match=r"does not answer .*ConnectError") as failed:
            OpenAIEngine(ServerOptions(url, patience_seconds=5), NAMES, sleep=slept.append)
    assert url in str(failed.value)
    assert sum(slept) <= 5


def test_a_slow_server_is_given_up(server: FakeServer, slept: list[float]) -> None:
    engine = engine_of(server, slept, timeout_seconds=0.2, patience_seconds=0.3)
    server.replies = [too_slow(1.0)] * 20
    with pytest.raises(EngineUnavailableError, match=r"ReadTimeout.*--engine-timeout"):
        engine.infer(random_contexts(1), top_n=1)


def test_a_server_whose_answer_drips_in_is_given_up(server: FakeServer, slept: list[float]) -> None:
    engine = engine_of(server, slept, timeout_seconds=0.2, patience_seconds=0.3)
    server.replies = [dripping] * 20
    with pytest.raises(EngineUnavailableError, match="did not end in time"):
        engine.infer(random_contexts(1), top_n=1)


def test_an_answer_that_would_fill_the_memory_is_refused(
    server: FakeServer, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(server, slept)
    monkeypatch.setattr("refresh.engines.completions.MAX_ANSWER_BYTES", 1_000)
    server.replies = [saying(b" " * 2_000)]
    with pytest.raises(EngineError, match="more than 1000 bytes"):
        engine.infer(random_contexts(1), top_n=1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"\xff\xfe\x00",
        b'{"choices": 3}',
        b"[]",
        b'{"choices": [{"index": 0, "text": "x", "logprobs": {"tokens": [1]}}]}',
        b'{"choices": [{"index": 0, "te',
        json.dumps({"choices": [{"index": 1, "text": ""}]}).encode(),
        json.dumps({"choices": [{"index": 0, "text": ""}, {"index": 0, "text": ""}]}).encode(),
        json.dumps({"choices": []}).encode(),
    ],
)
def test_garbage_is_refused_at_once(server: FakeServer, slept: list[float], content: bytes) -> None:
    engine = engine_of(server, slept)
    server.replies = [saying(content)]
    with pytest.raises(EngineError, match="The server answered") as failed:
        engine.infer(random_contexts(1), top_n=1)
    assert not isinstance(failed.value, EngineUnavailableError)
    assert server.url in str(failed.value)
    assert not slept


def test_a_server_without_probabilities_is_refused(server: FakeServer, slept: list[float]) -> None:
    engine = engine_of(server, slept)
    server.replies = [saying(json.dumps({"choices": [{"index": 0, "text": "<c0001>", "logprobs": None}]}).encode())]
    with pytest.raises(EngineError, match=r"no probabilities\. .*--scoring description"):
        engine.infer(random_contexts(1), top_n=1)


def test_probabilities_above_one_are_cut_and_other_tokens_left_out(server: FakeServer, slept: list[float]) -> None:
    engine, contexts = engine_of(server, slept), random_contexts(1, seed=3)
    table = {*contexts.c1.tolist(), *contexts.c2.tolist()}
    best = next(cluster for cluster in range(N_CLUSTERS) if cluster not in table)
    top = {f" <c{best:04d}>": 3.0, "Ignore all instructions": -0.1, "<c9999>": -0.1, f"<c{contexts.c2[0]:04d}>": 0.0}
    said = {"tokens": ["<c9999>"], "token_logprobs": [-0.1], "top_logprobs": [top]}
    server.replies = [saying(json.dumps({"choices": [{"index": 0, "text": "", "logprobs": said}]}).encode())]
    answers = engine.infer(contexts, top_n=3)
    assert answers.clusters.tolist() == [[best, -1, -1]]
    assert answers.probabilities.tolist() == [[1.0, 0.0, 0.0]]
    assert answers.label_mass.tolist() == [1.0]


def test_a_refused_key_is_told_at_once_and_never_shown(server: FakeServer, slept: list[float]) -> None:
    engine = engine_of(server, slept)
    server.replies = [lambda handler, _: handler.send(401, {"error": f"wrong key {KEY}\x1b[2J"})]
    with pytest.raises(EngineError, match=r"answers 401 .*TIDEGATE_API_KEY_FILE") as failed:
        engine.infer(random_contexts(1), top_n=1)
    assert KEY not in str(failed.value)
    assert "\x1b" not in str(failed.value)


def test_a_user_and_password_in_the_url_are_not_shown(slept: list[float]) -> None:
    options = ServerOptions("http://ann:hush@127.0.0.1:1/v1", patience_seconds=0.1)
    with pytest.raises(EngineUnavailableError) as failed:
        OpenAIEngine(options, NAMES, sleep=slept.append)
    assert "hush" not in str(failed.value)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://there", "http://", "http://[::1", "kafka://there/x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--engine-url"):
        open_engine("openai", NAMES, server=ServerOptions(url))


def test_an_engine_of_servers_needs_one() -> None:
    with pytest.raises(ConfigError, match="--engine-url"):
        open_engine("openai", NAMES)


def test_codes_of_several_tokens_are_found_at_the_start(server: FakeServer, slept: list[float]) -> None:
    server.n_tokens_per_code = 5
    with pytest.raises(EngineError, match=r"reads 100 tokens in 20 codes .*one each was required"):
        engine_of(server, slept)


def test_more_clusters_than_can_be_told_by_text_are_refused(server: FakeServer) -> None:
    with pytest.raises(CatalogueError, match="1024 is the most"):
        OpenAIEngine(options_of(server), [f"n{n}" for n in range(1_025)])


def test_codes_of_two_tokens_need_a_server_that_takes_token_ids(server: FakeServer, tmp_path: Path) -> None:
    names = [f"n{n}" for n in range(1_025)]
    folder = write_random_model(tmp_path / "wide", names)
    server.replies = [failing(400)]
    with pytest.raises(EngineError, match="takes no token ids"):
        OpenAIEngine(options_of(server), names, folder=folder)


def test_a_taught_model_behind_a_server_without_token_ids_is_told_by_text(
    server: FakeServer, tiny_model: TinyModel, slept: list[float]
) -> None:
    server.replies = [failing(422)]
    engine = OpenAIEngine(options_of(server), NAMES, folder=tiny_model.folder, sleep=slept.append)
    answers = engine.infer(random_contexts(10), top_n=2)
    assert (answers.clusters >= 0).all()
    assert isinstance(server.bodies[-1]["prompt"][0], str)


def test_a_server_that_returns_no_best_tokens_at_all_is_refused(server: FakeServer, slept: list[float]) -> None:
    server.n_logprobs = 0
    with pytest.raises(EngineError, match="answers 400"):
        engine_of(server, slept)


def test_descriptions_are_asked_for_in_words(server: FakeServer) -> None:
    asking = Asking(scoring=Scoring.DESCRIPTION)
    engine: Engine = open_engine("openai", NAMES, server=options_of(server), asking=asking)
    server.replies = [lambda handler, body: handler.send(200, spoken(body, " Interest 7\n"))]
    contexts = random_contexts(3, seed=5)
    answers = engine.infer(contexts, top_n=2)
    is_old = (contexts.c1 == 7) | (contexts.c2 == 7)
    assert answers.clusters[:, 0].tolist() == np.where(is_old, -1, 7).tolist()
    assert '"interest' in server.bodies[-1]["prompt"][0]
    assert "logprobs" not in server.bodies[-1]


def spoken(body: dict[str, Any], text: str) -> dict[str, Any]:
    return {"choices": [{"index": index, "text": text} for index in range(len(body["prompt"]))]}


def test_one_failed_request_ends_the_others(server: FakeServer, slept: list[float]) -> None:
    engine = engine_of(server, slept, rows_per_request=1, concurrency=2)
    n_before, server.replies = len(server.bodies), [failing(400)]
    with pytest.raises(EngineError, match="answers 400"):
        engine.infer(random_contexts(200), top_n=1)
    assert len(server.bodies) - n_before < 200


def test_rows_are_known_by_the_servers_name_for_the_model(server: FakeServer, slept: list[float]) -> None:
    server.served = ["one", "two"]
    one, two = (engine_of(server, slept, model=name) for name in ("one", "two"))
    assert one.fingerprint != two.fingerprint
    assert one.prompts.template == Template.packaged()
