"""What a client may do to a connection, and the short way for one pair held against the ordinary one."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from refresh.lookup import Lookup
from refresh.serving import Answers, Limits, RunningService, build_app, serve
from refresh.table_store import TableStore
from tests.tables import NAMES, publish, small_table


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    store = TableStore(tmp_path_factory.mktemp("protocol"))
    publish(store, small_table(names=(*NAMES, "R&B", "hip hop")))
    return Answers(Lookup(store, check_every_ms=60_000))


@pytest.fixture(scope="module")
def service(answers: Answers) -> Iterator[RunningService]:
    with serve(build_app(answers), answers=answers) as running:
        yield running


@pytest.fixture(scope="module")
def ordinary(answers: Answers) -> Iterator[RunningService]:
    """The same answers without the short way."""
    with serve(build_app(answers)) as running:
        yield running


def connect(service: RunningService) -> socket.socket:
    return socket.create_connection((service.host, service.port), timeout=10)


def exchange(service: RunningService, sent: bytes) -> bytes:
    """All that comes back until the service closes."""
    with connect(service) as connection:
        connection.sendall(sent)
        return received(connection)


def received(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:  # closed before all that was sent had been read
        pass
    return b"".join(parts)


def get(query: str | bytes, *, closes: bool = True) -> bytes:
    target = query if isinstance(query, bytes) else query.encode()
    return b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target, b"Connection: close\r\n" if closes else b"")


def parts_of(response: bytes) -> tuple[int, bytes]:
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


@given(st.one_of(st.binary(max_size=60), st.text("c12n=&jazrok%+20exlud", max_size=60).map(str.encode)))
@settings(max_examples=150, deadline=None)
def test_the_short_way_answers_as_the_ordinary_one(
    service: RunningService, ordinary: RunningService, query: bytes
) -> None:
    target = b"/v1/next?" + bytes(c for c in query if c > 32 and c != 127)
    (status, body), expected = (parts_of(exchange(each, get(target))) for each in (service, ordinary))
    assert status == expected[0] < 500
    assert expected[1] in (body, b"Invalid HTTP request received.")  # uvicorn's own words, where it is no HTTP
    assert json.loads(body)["version"] == 1


def test_names_are_read_from_urls_as_they_are_written_there(service: RunningService) -> None:
    for query, name in (
        (b"c1=R%26B&c2=rock", "R&B"),
        (b"c1=hip+hop&c2=1", "hip hop"),
        (b"c1=hip%20hop&c2=1", "hip hop"),
    ):
        status, body = parts_of(exchange(service, get(b"/v1/next?" + query)))
        assert (status, json.loads(body)["c1"]) == (200, name)


def test_pipelined_requests_are_answered_in_their_order(service: RunningService) -> None:
    batch = b'{"pairs": [[0, 1]]}'
    sent = get("/v1/next?c1=0&c2=1", closes=False)
    sent += b"POST /v1/next:batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(batch), batch)
    sent += get("/v1/next?c1=3&c2=1", closes=False) + get("/healthz", closes=False)
    sent += get("/v1/next?c1=4&c2=1", closes=False) * 50 + get("/v1/next?c1=1&c2=2")
    bodies = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in exchange(service, sent).split(b"HTTP/1.1 ")[1:]]
    assert [body.get("c1") for body in bodies] == ["jazz", None, "folk", None, *["ska"] * 50, "rock"]
    assert ("answers" in bodies[1], bodies[3]["status"]) == (True, "ok")


def test_a_connection_stays_open_and_takes_requests_in_pieces(service: RunningService) -> None:
    with connect(service) as connection:
        for _ in range(3):
            for piece in (b"GET /v1/ne", b"xt?c1=0&c2=1 HTTP/1.1\r\nHo", b"st: x\r\n", b"\r\n"):
                connection.sendall(piece)
            found = connection.recv(65536)
            assert found.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close" not in found


def test_the_body_of_a_request_that_has_none_to_send_is_passed_over(service: RunningService) -> None:
    with_body = b"GET /v1/next?c1=0&c2=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /"
    found = exchange(service, with_body * 2 + get("/v1/next?c1=3&c2=1"))
    assert found.count(b"HTTP/1.1 200 OK") == 3
    assert found.count(b"\r\ndate: ") == found.count(b"GMT") == 3


def test_an_old_client_gets_one_answer(service: RunningService) -> None:
    found = exchange(service, b"GET /v1/next?c1=0&c2=1 HTTP/1.0\r\n\r\n" * 2)
    assert found.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in found


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_refused_in_json(service: RunningService, sent: bytes) -> None:
    status, body = parts_of(exchange(service, sent + b"\r\n\r\n"))
    assert (status, json.loads(body)["error"]) == (400, "Invalid HTTP request received.")


@pytest.mark.parametrize("start", [b"GET /v1/next?c1=", b"GET / HTTP/1.1\r\nX: "])
def test_a_head_without_end_is_refused(service: RunningService, start: bytes) -> None:
    with connect(service) as connection:
        connection.sendall(start)
        try:
            for _ in range(40):
                connection.sendall(b"x" * 4_096)
        except OSError:
            pass  # it has been refused meanwhile
        found = received(connection)
    assert found == b"" or parts_of(found)[0] == 431


def test_bodies_larger_than_a_head_may_be_are_read(service: RunningService) -> None:
    body = b'{"pairs": [[0, 1]]' + b" " * 200_000 + b"}"
    with connect(service) as connection:
        for _ in range(2):
            connection.sendall(b"POST /v1/next:batch HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_connections_too_many_are_refused_and_others_go_on(answers: Answers) -> None:
    with serve(build_app(answers), answers=answers, limits=Limits(max_connections=2)) as service:
        held = [connect(service) for _ in range(2)]
        for connection in held:
            connection.sendall(get("/healthz", closes=False))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        status, body = parts_of(exchange(service, b""))
        assert (status, json.loads(body)["error"]) == (503, "more than 2 connections are open")
        held[0].sendall(get("/v1/next?c1=0&c2=1", closes=False))
        assert held[0].recv(65536).startswith(b"HTTP/1.1 200")
        for connection in held:
            connection.close()


def test_a_client_that_does_not_end_its_request_is_let_go(answers: Answers) -> None:
    with serve(build_app(answers), answers=answers, limits=Limits(request_seconds=0.2)) as service:
        for begun in (b"", b"GET /v1/next?c1=0", b"POST /v1/next:batch HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"):
            assert b"200 OK" not in exchange(service, begun)  # returns: the service closes


async def _slow_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Take a moment over an answer: longer than a client may take over a request."""
    if scope["type"] == "lifespan":
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})
        return
    await asyncio.sleep(1.5)
    await PlainTextResponse("done")(scope, receive, send)


def test_any_app_is_bounded_and_may_take_its_time_to_answer() -> None:
    with serve(_slow_answer, limits=Limits(request_seconds=0.2, max_connections=2)) as service:
        with connect(service) as slow, connect(service) as answered:
            slow.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nthe body never en")
            answered.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            started = time.monotonic()
            assert exchange(service, b"").startswith(b"HTTP/1.1 503")
            assert slow.recv(1_000) == b""
            assert time.monotonic() - started < 1.4
            assert b"done" in answered.makefile("rb").read()
        assert exchange(service, b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000).startswith(b"HTTP/1.1 431")
