"""Whatever is sent, the answer is one of the service's own: never a fault of ours, never a row that is not there."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.lookup import Lookup
from refresh.serving import Answers, RunningService, build_app, serve
from refresh.serving.records import MAX_BATCH_PAIRS, BatchAnswers, NextAnswer, Refusal, Reply
from refresh.table_store import TableStore
from tests.tables import NAMES, publish, small_table

CLUSTER = st.one_of(
    st.sampled_from(
        [*NAMES, "", "polka", "\x00", "jazz\n", "999999999999", 0, 4, 5, -1, 2**31, 2**63, 10**40, 1.0, True]
    ),
    st.text(max_size=5),
    st.none(),
    st.lists(st.integers(), max_size=2),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"pairs": st.lists(st.lists(CLUSTER, min_size=1, max_size=3), max_size=4)},
        optional={
            "n": st.one_of(st.integers(-3, 10**6), JSON),
            "exclude": st.one_of(st.lists(CLUSTER, max_size=3), JSON),
            "history": st.one_of(st.lists(st.lists(CLUSTER, max_size=3), max_size=4), JSON),
            "top": JSON,
        },
    ).map(lambda value: json.dumps(value).encode()),
)
QUERIES = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.tuples(st.sampled_from(["c1", "c2", "n", "exclude", "history", "", "C1", "%63%31"]), CLUSTER.map(str)),
        max_size=6,
    ).map(lambda parts: "&".join("=".join(part) for part in parts).encode("utf-8", "replace")),
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    store = TableStore(tmp_path_factory.mktemp("adversarial"))
    publish(store, small_table())
    return Answers(Lookup(store, check_every_ms=60_000))


@pytest.fixture(scope="module")
def service(answers: Answers) -> Iterator[RunningService]:
    with serve(build_app(answers), answers=answers) as running:
        yield running


def require_sound(reply: Reply, kind: type[Any]) -> None:
    assert reply.status in {200, 400}
    if reply.status == 400:
        refused = msgspec.json.decode(reply.body, type=Refusal)
        assert refused.error
        assert refused.mend
        assert refused.version == reply.version == 1
        return
    found = msgspec.json.decode(reply.body, type=kind)
    assert found.version == reply.version == 1
    for answer in getattr(found, "answers", [found]):
        assert all(NAMES[each.id] == each.name for each in answer.next)
        assert (answer.level == "none") == (not answer.next)


@given(QUERIES)
@settings(max_examples=250, deadline=None)
def test_any_query_is_answered_or_refused(answers: Answers, query: bytes) -> None:
    require_sound(answers.next_of_one(query), NextAnswer)


@given(BODIES)
@settings(max_examples=250, deadline=None)
def test_any_body_is_answered_or_refused(answers: Answers, body: bytes) -> None:
    require_sound(answers.next_of_many(body), BatchAnswers)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"pairs":' * 50_000,
        b'{"pairs": [["\\ud800", 1]]}',
        b'{"pairs": [[1e999, 1]]}',
        b'{"pairs": [[NaN, 1]]}',
        b'{"pairs": [[0, 1]], "n": 1e400}',
        b'{"pairs": [[0, 1]], "pairs": 7}',
        b'{"pairs": [' + b"[0,1]," * MAX_BATCH_PAIRS + b"[0,1]]}",
    ],
)
def test_bodies_that_break_parsers_are_refused(answers: Answers, body: bytes) -> None:
    reply = answers.next_of_many(body)
    require_sound(reply, BatchAnswers)
    assert reply.status == 400


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"]),
    st.sampled_from(["/", "/v1/next", "/v1/next/", "/v1/next:batch", "/v1/nextt?c1=0", "/healthz", "/openapi.json",
                     "/%ff", "//x"]),
    st.one_of(st.none(), BODIES),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_request_is_answered_in_json(service: RunningService, method: str, path: str, body: bytes | None) -> None:
    connection = http.client.HTTPConnection(service.host, service.port, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        found = answer.read()
    finally:
        connection.close()
    assert answer.status in {200, 400, 404, 405}
    assert answer.getheader("tidegate-version") == "1"
    if answer.status != 200 and method != "HEAD":
        assert msgspec.json.decode(found, type=Refusal).mend
