"""The service over real HTTP on a free port."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from refresh.lookup import Lookup
from refresh.serving import Answers, RunningService, build_app, serve
from refresh.serving.records import MAX_BATCH_PAIRS, MAX_BODY_BYTES
from refresh.serving.tally import Tally
from refresh.table_store import TableStore
from tests.tables import NAMES, publish, small_table
from tidegate.errors import ConfigError, TableError


async def fixed_metrics(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as a metrics app would."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"up 1\n"})


def serving(lookup: Lookup, metrics: ASGIApp | None = None, **options: Any) -> RunningService:
    answers = Answers(lookup)
    return serve(build_app(answers, metrics), answers=answers, **options)


class Client:
    """Talks JSON to a service."""

    def __init__(self, service: RunningService) -> None:
        self._service = service

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._service.host, self._service.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def header(self, method: str, path: str, body: bytes | None = None) -> tuple[str | None, bytes]:
        """The version's header, and the body."""
        connection = http.client.HTTPConnection(self._service.host, self._service.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.getheader("tidegate-version"), answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, Any]:
        status, body = self.ask("GET", path)
        return status, json.loads(body)

    def batch(self, request: object) -> tuple[int, Any]:
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        status, found = self.ask("POST", "/v1/next:batch", body)
        return status, json.loads(found)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service of the small table, with a sixth cluster whose name is a number."""
    store = TableStore(tmp_path_factory.mktemp("service"))
    publish(store, small_table(names=(*NAMES, "3")))
    with serving(Lookup(store, check_every_ms=60_000), fixed_metrics) as service:
        yield Client(service)


def test_one_pair_is_answered_by_names_or_ids(client: Client) -> None:
    expected = {
        "version": 1,
        "c1": "jazz",
        "c2": "rock",
        "level": "pair",
        "next": [{"id": 2, "name": "soul", "probability": 0.5}],
    }
    assert client.get("/v1/next?c1=jazz&c2=rock") == (200, expected)
    assert client.get("/v1/next?c1=0&c2=1&n=1") == (200, expected)
    status, found = client.get("/v1/next?c1=0&c2=1&n=5&exclude=soul")
    assert (status, [answer["name"] for answer in found["next"]]) == (200, ["folk"])
    assert client.get("/v1/next?c1=1&c2=0")[1]["level"] == "none"


def test_a_name_that_is_a_number_goes_before_the_id(client: Client) -> None:
    assert client.get("/v1/next?c1=3&c2=rock")[1]["c1"] == "3"
    assert client.batch({"pairs": [[3, 1], ["3", "rock"]]})[1]["answers"][0]["level"] == "pair"


def test_many_pairs_are_answered_in_their_order(client: Client) -> None:
    status, found = client.batch({"pairs": [["jazz", "rock"], [4, 1], [1, 0]], "n": 2})
    assert (status, found["version"]) == (200, 1)
    levels = [(answer["level"], [found["id"] for found in answer["next"]]) for answer in found["answers"]]
    assert levels == [("pair", [2, 3]), ("backoff", [2, 0]), ("none", [])]
    assert client.batch({"pairs": []}) == (200, {"version": 1, "answers": []})


@pytest.mark.parametrize(
    ("query", "place", "error"),
    [
        ("c2=rock", "c1", "c1 is missing"),
        ("c1=jazz&c2=polka", "c2", "'polka' is no cluster of table version 1"),
        ("c1=jazz&c2=9", "c2", "9 is no cluster of table version 1"),
        ("c1=jazz&c2=-1", "c2", "'-1' is no cluster of table version 1"),
        ("c1=jazz&c2=rock&n=0", "n", "'0' is not a number from 1 to 9999"),
        ("c1=jazz&c2=rock&n=many", "n", "'many' is not a number from 1 to 9999"),
        ("c1=jazz&c2=rock&exclude=polka", "exclude", "'polka' is no cluster of table version 1"),
        ("c1=jazz&c2=rock&top=3", "top", "there is no parameter 'top'"),
    ],
)
def test_a_wrong_query_is_refused_with_what_and_where(client: Client, query: str, place: str, error: str) -> None:
    status, found = client.get(f"/v1/next?{query}")
    assert (status, found["place"], found["error"]) == (400, place, error)
    assert found["mend"]


@pytest.mark.parametrize(
    ("body", "place", "error"),
    [
        (b"{", "body", "the body cannot be read"),
        (b"\xff", "body", "the body cannot be read"),
        ({"pairs": [[0, 1, 2]]}, "body", "$.pairs[0]"),
        ({"pairs": [[0, 1]], "n": 0}, "body", "$.n"),
        ({"pairs": [[0, 1]], "top": 1}, "body", "unknown field `top`"),
        ({"pairs": [[0, 1], [0, 77]]}, "pairs[1][1]", "77 is no cluster"),
        ({"pairs": [["polka", 1]]}, "pairs[0][0]", "'polka' is no cluster"),
        ({"pairs": [[0, 1]] * (MAX_BATCH_PAIRS + 1)}, "body", f"length <= {MAX_BATCH_PAIRS}"),
    ],
)
def test_a_wrong_batch_is_refused_with_what_and_where(client: Client, body: object, place: str, error: str) -> None:
    status, found = client.batch(body)
    assert (status, found["place"]) == (400, place)
    assert error in found["error"]


def test_unknown_paths_and_methods_are_refused_in_json(client: Client) -> None:
    assert client.get("/v2/next")[0] == 404
    status, found = client.ask("DELETE", "/v1/next")
    assert status == 405
    assert json.loads(found)["error"] == "DELETE /v1/next: Method Not Allowed"


def test_health_readiness_and_metrics_answer_at_their_exact_paths(client: Client) -> None:
    assert client.get("/healthz") == (200, {"status": "ok", "version": 1, "detail": ""})
    assert client.get("/readyz") == (200, {"status": "ready", "version": 1, "detail": ""})
    assert client.ask("GET", "/metrics") == (200, b"up 1\n")


def test_before_the_first_table_the_service_lives_but_is_not_ready(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    lookup = Lookup(store, check_every_ms=60_000)
    with serving(lookup) as service:
        client = Client(service)
        assert client.get("/healthz")[0] == 200
        assert client.get("/readyz") == (503, {"status": "no table", "version": 0, "detail": ""})
        status, found = client.get("/v1/next?c1=jazz&c2=rock")
        assert (status, found["error"]) == (503, "no table version serves yet")
        assert client.ask("GET", "/metrics")[0] == 404
        publish(store, small_table())
        lookup.poll()
        assert client.get("/readyz")[0] == 200


def test_a_corrupt_new_version_leaves_the_service_ready_and_says_why(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    publish(store, small_table())
    lookup = Lookup(store, check_every_ms=60_000)
    publish(store, small_table({}), window_end_ms=2_000)
    (tmp_path / "v00000002" / "pairs.npy").unlink()
    lookup.poll()
    with serving(lookup) as service:
        status, found = Client(service).get("/readyz")
    assert (status, found["version"]) == (200, 1)
    assert "pairs.npy: the file is missing" in found["detail"]


def test_the_running_app_follows_the_pointer_by_itself(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    publish(store, small_table())
    lookup = Lookup(store, check_every_ms=2)
    with serving(lookup) as service:
        publish(store, small_table({}), window_end_ms=2_000)
        client = Client(service)
        while lookup.version != 2:  # asks nothing: only the app's own thread can move it
            assert client.get("/healthz")[0] == 200
    service.wait()


def test_answers_are_not_held_back_to_fill_a_packet(tmp_path: Path) -> None:
    service = serving(Lookup(TableStore(tmp_path)))
    assert service.listener.proto == socket.IPPROTO_TCP  # what asyncio asks before it turns Nagle's delay off
    service.stop()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port: 127\.0\.0\.1:{port} cannot be listened on"):
            serving(Lookup(TableStore(tmp_path)), port=port)


def test_an_app_that_cannot_start_is_reported() -> None:
    @asynccontextmanager
    async def broken(_: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no")
        yield

    with pytest.raises(TableError, match="the service did not start"):
        serve(Starlette(lifespan=broken))


def test_stopping_twice_is_no_error_and_frees_the_port(tmp_path: Path) -> None:
    service = serving(Lookup(TableStore(tmp_path)))
    assert service.url == f"http://127.0.0.1:{service.port}"
    service.stop()
    service.stop()
    with pytest.raises(ConnectionRefusedError):
        Client(service).get("/healthz")


def test_a_history_is_passed_over_by_one_and_by_many(client: Client) -> None:
    assert [each["name"] for each in client.get("/v1/next?c1=0&c2=1&n=5&history=soul&history=polka")[1]["next"]] == [
        "folk"
    ]
    assert (
        client.get("/v1/next?c1=jazz&c2=rock&history=2&history=folk")[1]["level"] == "none"
    )  # the backoff has seen both
    asked = {
        "pairs": [[0, 1], [0, 1], ["ska", "rock"], [0, 1]],
        "n": 5,
        "history": [[], ["soul", "polka", 999, -4], [2], [2, 3]],
    }
    found = client.batch(asked)[1]["answers"]
    assert [(each["level"], [one["id"] for one in each["next"]]) for each in found] == [
        ("pair", [2, 3]),
        ("pair", [3]),
        ("backoff", [0]),
        ("none", []),
    ]
    found = client.batch({"pairs": [[0, 1], [4, 1]], "n": 5, "exclude": ["soul"]})[1]["answers"]
    assert [[one["id"] for one in each["next"]] for each in found] == [[3], [0]]
    status, refused = client.batch({"pairs": [[0, 1]], "exclude": ["polka"]})
    assert (status, refused["place"]) == (400, "exclude[0]")
    status, refused = client.batch({"pairs": [[0, 1]], "history": [[], []]})
    assert (status, refused["place"]) == (400, "history")
    assert refused["error"] == "2 histories for 1 pairs, one each is required"


@pytest.mark.parametrize("query", ["c1=0&c1=0&c2=1", "c1=0&c2=1&n=1&n=2"])
def test_what_can_be_once_only_is_refused_twice(client: Client, query: str) -> None:
    status, found = client.get(f"/v1/next?{query}")
    assert (status, found["mend"]) == (400, "Give it once")


def test_every_answer_names_its_version_in_a_header_too(client: Client) -> None:
    for method, path, body in (
        ("GET", "/v1/next?c1=0&c2=1", None),
        ("GET", "/v1/next", None),
        ("POST", "/v1/next:batch", b'{"pairs": []}'),
        ("POST", "/v1/next:batch", b"{"),
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/nowhere", None),
    ):
        header, found = client.header(method, path, body)
        assert header == str(json.loads(found)["version"]) == "1", path


def test_a_body_that_is_too_large_is_refused_and_not_read_to_its_end(client: Client) -> None:
    status, body = client.ask("POST", "/v1/next:batch", b" " * (MAX_BODY_BYTES + 1))
    found = json.loads(body)
    assert (status, found["place"]) == (413, "body")
    assert found["error"] == f"the body is larger than {MAX_BODY_BYTES} bytes"


def test_the_service_describes_itself(client: Client) -> None:
    status, document = client.get("/openapi.json")
    assert status == 200
    openapi_spec_validator.validate(document)
    assert set(document["paths"]) == {"/v1/next", "/v1/next:batch", "/healthz", "/readyz", "/metrics"}
    known = document["components"]["schemas"]
    answer = client.get("/v1/next?c1=0&c2=1")[1]
    assert set(answer) == set(known["NextAnswer"]["properties"])
    assert set(client.get("/v1/next")[1]) == set(known["Refusal"]["properties"])
    asked = known["BatchRequest"]
    assert (set(asked["properties"]), asked["required"]) == ({"pairs", "n", "exclude", "history"}, ["pairs"])
    assert (asked["additionalProperties"], asked["properties"]["pairs"]["maxItems"]) == (False, MAX_BATCH_PAIRS)


def test_a_fault_of_ours_is_answered_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = TableStore(tmp_path)
    publish(store, small_table())
    lookup = Lookup(store, check_every_ms=60_000)
    lookup.snapshot().one = lambda *_: 1 / 0  # type: ignore[method-assign]
    with serving(lookup) as service:
        status, found = Client(service).get("/v1/next?c1=0&c2=1")
    assert (status, found["error"]) == (500, "this request could not be answered")
    assert "ZeroDivisionError" in caplog.text


def test_what_is_answered_is_counted(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    publish(store, small_table())
    tally = Tally()
    lookup = Lookup(store, check_every_ms=60_000, on_swap=tally.swap)
    answers = Answers(lookup, tally)
    with serve(build_app(answers), answers=answers) as service:
        client = Client(service)
        client.get("/v1/next?c1=0&c2=1")
        client.get("/v1/next?c1=0&c2=9")
        client.batch({"pairs": [[0, 1], [4, 1], [1, 0]]})
        client.batch(b"{")
        client.get("/nowhere")
    found = tally.figures()
    assert {key: n for key, n in found.requests.items() if n} == {
        ("next", "answered"): 1,
        ("next", "refused"): 1,
        ("batch", "answered"): 1,
        ("batch", "refused"): 1,
        ("other", "refused"): 1,
    }
    assert (found.pairs, sum(found.buckets)) == ({"pair": 2, "backoff": 1, "none": 1}, 5)
    assert (found.versions, found.swaps, found.rejected) == ((1,), 1, 0)
    assert found.seconds > 0


def test_a_service_that_ends_by_itself_is_an_error(tmp_path: Path) -> None:
    stop = threading.Event()
    with serving(Lookup(TableStore(tmp_path))) as service:
        service._server.should_exit = True
        with pytest.raises(TableError, match="the service ended by itself"):
            service.serve_until(stop)
        stop.set()
        service.serve_until(stop)
