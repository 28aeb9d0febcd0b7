"""The lookup over HTTP: one pair, many pairs, health, readiness and the place where metrics are mounted.

Every answer carries the table version it comes from; every refusal is JSON with what was found and what to do.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Annotated

import msgspec
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from refresh.lookup import LEVELS, Lookup, ServedTable
from tidegate.errors import ConfigError, RequestError, TableError

MAX_BODY_BYTES = 1 << 20
MAX_BATCH_PAIRS = 10_000  # an answer of every one stays near a megabyte and tens of milliseconds
_START_SECONDS, _STOP_SECONDS = 10.0, 10.0

ClusterName = int | str


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/next:batch``: integers are cluster ids, strings are cluster names."""

    pairs: Annotated[list[tuple[ClusterName, ClusterName]], msgspec.Meta(max_length=MAX_BATCH_PAIRS)]
    n: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 1


class NextCluster(msgspec.Struct, frozen=True):
    """One predicted cluster."""

    id: int
    name: str
    probability: float


class PairAnswer(msgspec.Struct, frozen=True):
    """The clusters predicted for one pair, best first, and the table's level they come from."""

    level: str
    next: list[NextCluster]


class NextAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /v1/next``."""

    version: int
    c1: str
    c2: str
    level: str
    next: list[NextCluster]


class BatchAnswers(msgspec.Struct, frozen=True):
    """Answer of ``POST /v1/next:batch``, in the order of the request's pairs."""

    version: int
    answers: list[PairAnswer]


class ServiceState(msgspec.Struct, frozen=True):
    """Answer of ``/healthz`` and ``/readyz``."""

    status: str
    version: int
    detail: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Body of every answer that is not a 2xx."""

    error: str
    mend: str
    place: str | None = None


def _json(record: msgspec.Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(record), status, media_type="application/json")


def _refused(_: Request, error: Exception) -> Response:
    """Turn what a handler raised on purpose into its status: 400 for the request, 503 for the table."""
    assert isinstance(error, RequestError | TableError)
    status = 400 if isinstance(error, RequestError) else 503
    return _json(Refusal(error.found, error.mend, error.place), status)


def _refused_by_route(request: Request, error: Exception) -> Response:
    """Say in JSON what the router refuses: an unknown path or method."""
    assert isinstance(error, HTTPException)
    paths = "/v1/next, /v1/next:batch (POST), /healthz and /readyz"
    found = f"{request.method} {request.url.path}: {error.detail}"
    return _json(Refusal(found, f"Use {paths}"), error.status_code)


class _MountedApp:
    """Lets a route hand a whole ASGI app one exact path; mounting would redirect it to the path with a slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class _Handlers:
    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def _table(self) -> ServedTable:
        served = self._lookup.snapshot()
        if served.version == 0:
            raise TableError("no table version serves yet", "Publish a first table, then ask again", place="table")
        return served

    async def next_of_one(self, request: Request) -> Response:
        """Answer ``GET /v1/next?c1=&c2=&n=&exclude=``."""
        served, query = self._table(), request.query_params
        _refuse_unknown(set(query), {"c1", "c2", "n", "exclude"})
        c1, c2 = (_cluster_of(served, query.get(name), name) for name in ("c1", "c2"))
        exclude = {_cluster_of(served, text, "exclude") for text in query.getlist("exclude")}
        answer = served.one(c1, c2, _positive(query.get("n", "1"), "n"), exclude)
        names = served.cluster_names
        found = _named(served, answer.clusters, answer.probabilities)
        return _json(NextAnswer(served.version, names[c1], names[c2], answer.level, found))

    async def next_of_many(self, request: Request) -> Response:
        """Answer ``POST /v1/next:batch``."""
        served = self._table()
        asked = await _batch(request)
        ids = np.empty((len(asked.pairs), 2), dtype=np.int32)
        for i, (c1, c2) in enumerate(asked.pairs):
            ids[i] = served.id_of(c1, f"pairs[{i}][0]"), served.id_of(c2, f"pairs[{i}][1]")
        found = served.many_ranked(ids[:, 0], ids[:, 1], min(asked.n, served.table.top_n))
        columns = zip(found.clusters.tolist(), found.probabilities.tolist(), found.levels.tolist(), strict=True)
        return _json(
            BatchAnswers(served.version, [PairAnswer(LEVELS[level], _named(served, c, p)) for c, p, level in columns])
        )

    async def healthz(self, _: Request) -> Response:
        """Answer that the process lives."""
        return _json(ServiceState("ok", self._lookup.version))

    async def readyz(self, _: Request) -> Response:
        """Answer whether a table serves, and why the newest does not where an older one has to."""
        version, rejected = self._lookup.snapshot().version, self._lookup.rejected
        detail = str(rejected) if rejected else ""
        return _json(ServiceState("ready" if version else "no table", version, detail), 200 if version else 503)


def _named(
    served: ServedTable, clusters: list[int] | tuple[int, ...], weights: list[float] | tuple[float, ...]
) -> list[NextCluster]:
    names, found = served.cluster_names, zip(clusters, weights, strict=True)
    return [NextCluster(cluster, names[cluster], weight) for cluster, weight in found if cluster >= 0]


def _refuse_unknown(found: set[str], known: set[str]) -> None:
    for name in sorted(found - known):
        raise RequestError(f"there is no parameter {name!r}", f"Use {', '.join(sorted(known))}", place=name)


def _cluster_of(served: ServedTable, text: str | None, place: str) -> int:
    """Id of a cluster in a URL: a name of the catalogue, else an id (names may be numbers, so they go first)."""
    if text is None:
        raise RequestError(f"{place} is missing", "Name the cluster: /v1/next?c1=NAME&c2=NAME", place=place)
    is_id = text not in served.id_of_name and text.isascii() and text.isdigit() and len(text) <= 5
    return served.id_of(int(text) if is_id else text, place)


def _positive(text: str, place: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) > 0):
        raise RequestError(f"{text!r} is not a number from 1 to 9999", "Write how many clusters you want", place=place)
    return int(text)


async def _batch(request: Request) -> BatchRequest:
    """Read the body, no further than its bound."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            found = f"the body is larger than {MAX_BODY_BYTES} bytes"
            raise RequestError(found, "Send fewer pairs at a time", place="body")
    try:
        return msgspec.json.decode(body, type=BatchRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        mend = 'Send {"pairs": [[C1, C2], …], "n": N} with ids (numbers) or names (strings)'
        raise RequestError(f"the body cannot be read: {error}", mend, place="body") from error


def build_app(lookup: Lookup, metrics_asgi: ASGIApp | None = None) -> Starlette:
    """Build the service around a lookup.

    While the app runs, a thread follows the table's pointer, so that no request waits for a new version to load.

    Parameters
    ----------
    lookup : Lookup
    metrics_asgi : ASGI app, optional
        Answers ``/metrics``.
    """
    handlers = _Handlers(lookup)
    routes: list[BaseRoute] = [
        Route("/v1/next", handlers.next_of_one, methods=["GET"]),
        Route("/v1/next:batch", handlers.next_of_many, methods=["POST"]),
        Route("/healthz", handlers.healthz, methods=["GET"]),
        Route("/readyz", handlers.readyz, methods=["GET"]),
    ]
    if metrics_asgi is not None:
        routes.append(Route("/metrics", _MountedApp(metrics_asgi), methods=["GET"]))

    @asynccontextmanager
    async def follow(_: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(_follow(lookup))
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    return Starlette(
        routes=routes,
        exception_handlers={RequestError: _refused, TableError: _refused, HTTPException: _refused_by_route},
        lifespan=follow,
    )


async def _follow(lookup: Lookup) -> None:
    """Poll twice as often as a request would, so that a request never finds the look-up due."""
    while True:
        await asyncio.sleep(lookup.check_every_ms / 2_000)
        await asyncio.to_thread(lookup.poll)


class _AnnouncedServer(uvicorn.Server):
    """Says when it accepts requests, or that it never will."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.has_settled.set()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        except SystemExit:  # how a failed start ends; its reason has been logged
            pass
        finally:
            self.has_settled.set()


class RunningService:
    """A service in a thread of this process; a context manager that stops it.

    Attributes
    ----------
    host : str
    port : int      the one that was chosen, where 0 was asked for
    listener : socket
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.listener = _listening(host, port)
        self.host, self.port = host, int(self.listener.getsockname()[1])
        self._server = _AnnouncedServer(uvicorn.Config(app, lifespan="on", log_config=None, access_log=False))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self.listener]}, name="tidegate-service", daemon=True
        )
        self._thread.start()
        if not self._server.has_settled.wait(_START_SECONDS) or not self._server.started:
            self.stop()
            raise TableError("the service did not start", "See the log for its reason", place=self.url)

    @property
    def url(self) -> str:
        """Base of its addresses."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def wait(self) -> None:
        """Return when the service has ended."""
        self._thread.join()

    def stop(self) -> None:
        """End after the requests in flight; may be called twice."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self.listener.close()

    def __enter__(self) -> RunningService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _listening(host: str, port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's delay (40 ms an answer) off only where it sees TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2_048)
    except OSError as error:
        listener.close()
        found = f"{host}:{port} cannot be listened on ({error.strerror})"
        raise ConfigError(found, "Name another --port (0 picks a free one)", place="--port") from error
    return listener


def serve(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> RunningService:
    """Start the service in a background thread; returns when it accepts requests.

    Raises
    ------
    ConfigError
        If the address cannot be listened on.
    TableError
        If it does not start.
    """
    return RunningService(app, host, port)
