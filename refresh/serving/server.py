"""The service in a thread of this process, on a socket of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from functools import partial
from types import TracebackType
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from refresh.serving.answers import Answers
from refresh.serving.protocol import BoundedProtocol, Limits, LookupProtocol, close_late
from tidegate.errors import ConfigError, TableError

_START_SECONDS = 10.0
_TICKS_A_SECOND = 10  # uvicorn's own
_BACKLOG = 2_048
_LOOK_SECONDS = 0.5


class _AnnouncedServer(uvicorn.Server):
    """Says when it accepts requests, or that it never will; closes connections that take too long."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.has_settled.set()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SECOND == 0:
            close_late(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

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

    def __init__(self, app: ASGIApp, answers: Answers | None, listener: socket.socket, limits: Limits) -> None:
        self.listener, self._limits = listener, limits
        self.host, self.port = listener.getsockname()[:2]
        config = uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            loop="uvloop",
            ws="none",
            timeout_keep_alive=int(limits.request_seconds) + 1,
            timeout_graceful_shutdown=int(limits.shutdown_seconds),
        )
        bounded = partial(BoundedProtocol, limits=limits)
        made = bounded if answers is None else partial(LookupProtocol, answers=answers, limits=limits)
        config.http = cast(type[asyncio.Protocol], made)
        self._server = _AnnouncedServer(config)
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

    def wait(self, seconds: float | None = None) -> bool:
        """Return when the service has ended, or after as many seconds; says whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def serve_until(self, stop: threading.Event) -> None:
        """Return when `stop` is set.

        Raises
        ------
        TableError
            If the service ends by itself.
        """
        while not stop.wait(_LOOK_SECONDS):
            if self.wait(0):
                raise TableError("the service ended by itself", "See the log for its reason", place=self.url)

    def stop(self) -> None:
        """End after the requests in flight; may be called twice."""
        self._server.should_exit = True
        self._thread.join(self._limits.shutdown_seconds + 5)
        self.listener.close()

    def __enter__(self) -> RunningService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def listening(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Open a socket that listens.

    Parameters
    ----------
    is_shared : bool
        Let other processes of this user listen on the same port; the kernel spreads connections over them.

    Raises
    ------
    ConfigError
        If the address cannot be listened on.
    """
    listener = bound(host, port, is_shared=is_shared)
    listener.listen(_BACKLOG)
    return listener


def bound(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Take a port without listening on it; raises as `listening` does."""
    # The protocol is named because asyncio turns Nagle's delay (40 ms an answer) off only where it sees TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        found = f"{host}:{port} cannot be listened on ({error.strerror})"
        raise ConfigError(found, "Name another --port (0 picks a free one)", place="--port") from error
    return taken


def serve(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    answers: Answers | None = None,
    limits: Limits | None = None,
    is_shared: bool = False,
) -> RunningService:
    """Start a service in a background thread; returns when it accepts requests.

    Parameters
    ----------
    app : ASGI app
    answers : Answers, optional
        Those of `app`: with them ``GET /v1/next`` takes the short way of `refresh.serving.protocol`.
    is_shared : bool
        See `listening`.

    Raises
    ------
    ConfigError
        If the address cannot be listened on.
    TableError
        If it does not start.
    """
    return RunningService(app, answers, listening(host, port, is_shared=is_shared), limits or Limits())
