"""Processes that serve one place of tables on one port.

Each process listens for itself and the kernel spreads connections over them (``SO_REUSEPORT``); all map the same files,
so the table is in memory once. The parent holds the port, starts them anew where they end, and ends with them.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Semaphore
from pathlib import Path

from prometheus_client import CollectorRegistry

from monitoring.exposition import metrics_asgi
from monitoring.role_metrics import RoleMetrics, Vitals
from monitoring.service_metrics import ServiceMetrics
from refresh.lookup import Lookup
from refresh.serving import Answers, Limits, RunningService, build_app, serve
from refresh.serving.server import bound
from refresh.serving.tally import Tally, file_bytes
from refresh.table_place import open_tables
from tidegate.cli.exporting import metrics_port
from tidegate.cli.stopping import stop_signal
from tidegate.clock import SystemClock
from tidegate.errors import TableError

_LOG = logging.getLogger("tidegate")
_SWITCH_SECONDS = 0.0005  # a version that is being loaded may hold answers up for as long: a tenth of Python's default
_LOADING_SHARE = 0.3
_RESTART_SECONDS = 1.0
_SHORT_LIFE_SECONDS, _MAX_SHORT_LIVES = 10.0, 3
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What ``tidegate serve`` is told."""

    home: Path
    tables: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    n_processes: int = 1
    check_every_ms: int = 200
    request_seconds: float = 30.0
    max_connections: int = 10_000
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    expose_metrics: bool = False


def serve_tables(options: ServeOptions, stop: threading.Event, on_ready: Callable[[str], None]) -> None:
    """Serve until `stop`, in this process or by others.

    Parameters
    ----------
    on_ready : told the service's address, once it is listened on

    Raises
    ------
    ConfigError
        If the address cannot be listened on, or the tables' place is none.
    TableError
        If the service does not start, or its processes end again and again.
    """
    open_tables(options.home, options.tables)  # refuses a place that is none before anything starts
    if options.n_processes == 1:
        tally = Tally()
        with _serving(options, tally, is_shared=False) as service, _own_port(options, tally):
            on_ready(service.url)
            service.serve_until(stop)
        return
    bound(options.host, options.port).close()  # another service must not share its port with us by accident
    with ExitStack() as stack:
        held = stack.enter_context(bound(options.host, options.port, is_shared=True))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-serve-")))
        tally_file = folder / "tally"
        tally_file.write_bytes(bytes(file_bytes(options.n_processes)))
        stack.enter_context(_own_port(options, Tally(tally_file)))
        workers = _Workers(replace(options, port=int(held.getsockname()[1])), tally_file)
        stack.callback(workers.stop)
        workers.run(stop, on_ready)


@contextmanager
def _own_port(options: ServeOptions, tally: Tally) -> Iterator[None]:
    """Export the whole service on a port of its own, apart from the one that look-ups are asked on."""
    registry = CollectorRegistry()
    ServiceMetrics(registry, tally.figures)
    clock = SystemClock()
    RoleMetrics(registry, "serve", "", lambda: Vitals(clock.now_ms(), None, 0, 0.0))

    def unready() -> str | None:
        return None if min(tally.figures().versions) > 0 else "a process has no table to serve yet"

    with metrics_port(options.metrics_host, options.metrics_port, options.expose_metrics, registry, unready):
        yield


def _serving(options: ServeOptions, tally: Tally, *, is_shared: bool) -> RunningService:
    sys.setswitchinterval(_SWITCH_SECONDS)
    store = open_tables(options.home, options.tables)
    lookup = Lookup(
        store,
        options.check_every_ms,
        on_swap=tally.swap,
        on_rejected=lambda _: tally.reject(),
        busy_share=_LOADING_SHARE,
    )
    registry = CollectorRegistry()
    ServiceMetrics(registry, tally.figures)
    answers = Answers(lookup, tally)
    gc.collect()
    gc.freeze()  # what was loaded stays: looking through all of it again and again would hold answers up
    return serve(
        build_app(answers, metrics_asgi(registry)),
        options.host,
        options.port,
        answers=answers,
        limits=Limits(options.max_connections, options.request_seconds),
        is_shared=is_shared,
    )


class _Workers:
    """The processes of a service, by row of the tally."""

    def __init__(self, options: ServeOptions, tally: Path) -> None:
        self._options, self._tally = options, tally
        self._spawning = multiprocessing.get_context("spawn")  # threads and compiled kernels do not survive a fork
        self._ready = self._spawning.Semaphore(0)
        self._processes: dict[int, SpawnProcess] = {}
        self._begun: dict[int, float] = {}
        self._n_short_lives = 0

    def run(self, stop: threading.Event, on_ready: Callable[[str], None]) -> None:
        for row in range(self._options.n_processes):
            self._start(row)
        n_ready, host = 0, self._options.host
        while not stop.is_set():
            if n_ready < self._options.n_processes and self._ready.acquire(timeout=0.05):
                n_ready += 1
                if n_ready == self._options.n_processes:
                    on_ready(f"http://{f'[{host}]' if ':' in host else host}:{self._options.port}")
            wait([process.sentinel for process in self._processes.values()], timeout=0.1)
            for row, process in list(self._processes.items()):
                if process.exitcode is not None and not stop.is_set():
                    self._replace(row, process.exitcode, stop)

    def _start(self, row: int) -> None:
        process = self._spawning.Process(
            target=_work, args=(self._options, self._tally, row, self._ready), name=f"tidegate-serve-{row}"
        )
        process.start()
        self._processes[row], self._begun[row] = process, time.monotonic()

    def _replace(self, row: int, code: int, stop: threading.Event) -> None:
        is_short = time.monotonic() - self._begun[row] < _SHORT_LIFE_SECONDS
        self._n_short_lives = self._n_short_lives + 1 if is_short else 0
        if self._n_short_lives >= _MAX_SHORT_LIVES:
            raise TableError(
                f"processes of the service ended {self._n_short_lives} times right after they had begun (code {code})",
                "See the log for their reason",
                place=f"process {row}",
            )
        _LOG.error("process %d of the service ended with %d; it is started again", row, code)
        if not stop.wait(_RESTART_SECONDS * is_short):
            self._start(row)

    def stop(self) -> None:
        """End all, after the requests in flight."""
        for process in self._processes.values():
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()
            process.close()


def _work(options: ServeOptions, tally: Path, row: int, ready: Semaphore) -> None:
    """Serve as one of many, until told to end or left alone."""
    log_to_stderr()
    with stop_signal() as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its processes itself
        parent = multiprocessing.parent_process()
        assert parent is not None
        threading.Thread(target=_stop_after, args=(parent, stop), name="parent", daemon=True).start()
        with _serving(options, Tally(tally, row), is_shared=True) as service:
            ready.release()
            service.serve_until(stop)


def _stop_after(parent: BaseProcess, stop: threading.Event) -> None:
    parent.join()
    stop.set()


def log_to_stderr() -> None:
    """Write what happens to standard error, one line an event, with the process that says it."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(process)d %(name)s %(message)s", level=logging.INFO)
