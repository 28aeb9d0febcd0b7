"""A store whose disk is full for a while.

Two ways: a file size limit on processes that write SQLite (no privilege needed), and a tablespace of PostgreSQL on a
small memory disk that is filled up (root, and a machine that lets it mount).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.faults.siege import Siege
from tests.postgres import PostgresServer, _unprivileged

_SIZE_MIB = 64
_FULL_SECONDS = 4.0
WAITS = ("the store refuses for now", "the store is away")
"""What workers, and the evaluator, write into their logs while they wait for the store."""


class MountRefusedError(Exception):
    """This machine lets nobody mount a memory disk."""


def fill_up_files(siege: Siege) -> int:
    """Let no file of the siege's processes grow past what their logs need, for a while; returns how many waited."""
    limit, none = 64 * 1024, resource.RLIM_INFINITY
    members = siege.members
    for member in members:
        resource.prlimit(member.pid, resource.RLIMIT_FSIZE, (limit, none))
    try:
        siege.rest(30, lambda: n_waiting(siege) > 0)
        siege.rest(_FULL_SECONDS)
    finally:
        for member in members:
            if member.is_alive:
                resource.prlimit(member.pid, resource.RLIMIT_FSIZE, (none, none))
    return n_waiting(siege)


def fill_up_disk(siege: Siege, folder: Path) -> int:
    """Fill the disk that `folder` is on, for a while; returns how many processes waited."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        siege.rest(30, lambda: n_waiting(siege) > 0)
        siege.rest(_FULL_SECONDS)
    finally:
        filler.unlink()
    return n_waiting(siege)


def n_waiting(siege: Siege) -> int:
    """How many members have written that they wait for the store."""
    logs = [member.log.read_text(errors="replace") for member in siege.members]
    return sum(any(words in log for words in WAITS) for log in logs)


@contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a memory disk of some MiB that PostgreSQL may write to.

    Raises
    ------
    MountRefusedError
        If that is not allowed.
    """
    folder = Path(tempfile.mkdtemp(prefix="tidegate-disk-"))
    folder.chmod(0o755)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MountRefusedError(done.stderr.strip())
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database_on(server: PostgresServer, disk: Path, name: str) -> Iterator[str]:
    """Create a database whose tables lie on `disk`; yields its URL and drops it again."""
    place = disk / "tablespace"
    place.mkdir(mode=0o700)
    if owner := _unprivileged():
        os.chown(place, owner.pw_uid, owner.pw_gid)
    known = sql.Identifier(name)
    create = sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(known, sql.Literal(str(place)))
    _execute(server, create, sql.SQL("CREATE DATABASE {} TABLESPACE {}").format(known, known))
    try:
        yield server.url_of(name)
    finally:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(known)
        _execute(server, drop, sql.SQL("DROP TABLESPACE {}").format(known))


def _execute(server: PostgresServer, *statements: sql.Composed) -> None:
    url = make_url(server.url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
