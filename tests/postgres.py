"""A real PostgreSQL server on loopback, for tests and benchmarks."""

from __future__ import annotations

import os
import pwd
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from tests.broker import free_ports

START_SECONDS = 60.0
INITIALIZE_SECONDS = 60.0
STOP_SECONDS = 20.0
_ANSWER_SECONDS = 2  # the least that the client accepts
_PAUSE_SECONDS = 0.02
_LOG_TAIL_LINES = 30
_USER = "tidegate"

# Loopback only, with no socket file, whose path may be no longer than 107 characters; small, because CI machines are.
_SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "16MB"}


class PostgresStartError(Exception):
    """The server did not come up; the message ends with the tail of its log."""


class PostgresServer:
    """One server whose data outlives `stop` and `kill`, and is there again after `start`.

    PostgreSQL refuses to run as root. For root it runs as ``postgres``, or ``nobody`` where there is no such user,
    and owns its data; the folders above may be closed to that user.

    Parameters
    ----------
    binaries : Path      folder of ``postgres`` and ``initdb``
    folder : Path        data and ``postgres.log``
    settings             server settings on top of those for tests; ``{"fsync": "off"}`` gives up safety for speed

    Attributes
    ----------
    address : str        ``host:port``, the same after a restart
    """

    def __init__(self, binaries: Path, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._log_path = folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_ports(1)[0]
        self.address = f"127.0.0.1:{self._port}"
        self._settings = _SETTINGS | {"port": str(self._port)} | dict(settings or {})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster while it runs."""
        return self._process.pid if self._process else None

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the database that is always there."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """SQLAlchemy's URL of `database`."""
        return f"postgresql+psycopg://{_USER}@{self.address}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL.

        Raises
        ------
        psycopg.Error
            If the server refuses, for example because it exists.
        """
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url_of(name)

    def start(self) -> None:
        """Start and wait until clients are answered.

        Raises
        ------
        PostgresStartError
            If it ends, or does not answer within a minute.
        """
        if not (self._data / "PG_VERSION").exists():
            self._initialize()
        options = [word for key, value in self._settings.items() for word in ("-c", f"{key}={value}")]
        self._process = self._spawn("postgres", *options)
        try:
            self._wait_until_it_answers(self._process, time.monotonic() + START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def _initialize(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        if owner := _unprivileged():
            os.chown(self._data, owner.pw_uid, owner.pw_gid)
        options = ["--username", _USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        code = self._spawn("initdb", *options).wait(INITIALIZE_SECONDS)
        if code:
            raise PostgresStartError(f"initdb ended with {code}\n{self.log_tail()}")

    def _spawn(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        owner = _unprivileged()
        uid, gid, groups = (owner.pw_uid, owner.pw_gid, ()) if owner else (None, None, None)
        with self._log_path.open("ab") as log, _held_folder(self._data) as data:
            # Through a descriptor there is a way to the data even where the folders above are closed to the server.
            place = f"/proc/self/fd/{data}" if owner else str(self._data)
            return subprocess.Popen(
                [str(self._binaries / program), "-D", place, *options],
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=(data,),
                user=uid,
                group=gid,
                extra_groups=groups,
            )

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        while time.monotonic() < deadline:
            with suppress(psycopg.OperationalError), self._connect():
                return
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PAUSE_SECONDS)
                raise PostgresStartError(f"the server ended before it answered\n{self.log_tail()}")
        raise PostgresStartError(f"no answer on {self.address} within {START_SECONDS:.0f} s\n{self.log_tail()}")

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self._port,
            user=_USER,
            dbname="postgres",
            autocommit=True,
            connect_timeout=_ANSWER_SECONDS,
        )

    def stop(self) -> None:
        """End it, and its clients' sessions with it; does nothing where it does not run."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)  # the fast shutdown, which waits for no client
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def restart(self) -> None:
        """`stop`, then `start`."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End it and its children without a chance to tidy up, as a crash would.

        1. The postmaster is halted, so that it starts no more children and does not see them die.
        2. The children are killed, then the postmaster.
        3. All are awaited: a new server refuses to start beside children of the old one.
        """
        if self._process is None:
            return
        with ExitStack() as held:
            self._process.send_signal(signal.SIGSTOP)  # 1
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            children = [_held_process(pid, held) for pid in _children(self._process.pid)]
            for child in children:  # 2
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(child, signal.SIGKILL)
            self._process.kill()
            self._process.wait()  # 3
            for child in children:
                select.select([child], [], [], STOP_SECONDS)
        self._process = None

    def log_tail(self) -> str:
        """Last lines of the server's log."""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom the server runs as; None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _children(pid: int) -> list[int]:
    """Processes that `pid` started, of which each is a group of its own."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parent = stat.read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid:
                found.append(int(stat.parent.name))
    return found


@contextmanager
def _held_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _held_process(pid: int, held: ExitStack) -> int:
    descriptor = os.pidfd_open(pid)
    held.callback(os.close, descriptor)
    return descriptor
