"""Claims: which worker is at which chunk, so that several share an order without overlap.

A claim is a lease file that one worker creates and nobody else can: ``000012.lease-0001`` is the first claim of chunk
12. Once it has expired, the second one may be created, again by one worker only. A worker that comes back late (a
zombie) finds a later claim than its own; what it infers all the same is equal by content, and dropped.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from refresh.bulk.orders import cannot_be_kept
from tidegate.clock import Clock
from tidegate.files import write_atomically, write_once


class Lease(msgspec.Struct, frozen=True):
    """Whose chunk it is, and until when. ``host`` and ``pid`` tell neighbours whether its process is gone already."""

    owner: str
    expires_ms: int
    host: str = ""
    pid: int = 0

    @property
    def is_orphaned(self) -> bool:
        """Whether a process of this host held it that is not there any more: nobody has to wait for its lease."""
        if self.pid <= 0 or self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False  # somebody else's process
        return False


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's hold on one chunk."""

    chunk: int
    number: int


class Claims:
    """Claims of one order, by one worker.

    Parameters
    ----------
    folder : of the order
    owner : name of this worker
    clock : tells when leases expire
    lease_seconds : how long a claim holds without being renewed
    """

    def __init__(self, folder: Path, owner: str, clock: Clock, lease_seconds: float) -> None:
        self._folder, self._owner, self._clock = folder, owner, clock
        self._lease_ms = round(lease_seconds * 1_000)

    def take(self, chunk: int) -> Claim | None:
        """Claim a chunk; None where another worker holds it, or was faster.

        Raises
        ------
        OrderError
            If the lease cannot be written.
        """
        last = self._last(chunk)
        if last and not self._has_expired(self._path(Claim(chunk, last))):
            return None
        claim = Claim(chunk, last + 1)
        try:
            return claim if write_once(self._path(claim), self._lease()) else None
        except OSError as error:
            raise cannot_be_kept(error, self._folder) from error

    def renew(self, claim: Claim) -> bool:
        """Hold a claim for longer; False where it was lost to another worker, or cannot be written."""
        if self._last(claim.chunk) != claim.number:
            return False
        try:
            write_atomically(self._path(claim), self._lease())
        except OSError:
            return False  # the chunk's shard will say what is wrong
        return True

    def release(self, claim: Claim) -> None:
        """Let another worker have the chunk at once."""
        with suppress(OSError):  # it expires by itself
            write_atomically(self._path(claim), msgspec.json.encode(Lease(self._owner, 0)))

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Renew a claim three times a lease for as long as the block lasts; released where the block fails."""
        has_ended = threading.Event()

        def renew() -> None:
            while not has_ended.wait(self._lease_ms / 3_000) and self.renew(claim):
                pass

        heartbeat = threading.Thread(target=renew, name=f"lease-{claim.chunk}", daemon=True)
        heartbeat.start()
        try:
            yield
        except BaseException:
            has_ended.set()
            heartbeat.join()
            self.release(claim)
            raise
        finally:
            has_ended.set()
            heartbeat.join()

    def _lease(self) -> bytes:
        expires_ms = self._clock.now_ms() + self._lease_ms
        return msgspec.json.encode(Lease(self._owner, expires_ms, socket.gethostname(), os.getpid()))

    def _path(self, claim: Claim) -> Path:
        return self._folder / f"{claim.chunk:06d}.lease-{claim.number:04d}"

    def _last(self, chunk: int) -> int:
        """Find the number of the latest claim; 0 where there is none."""
        numbers = [path.name.rpartition("-")[2] for path in self._folder.glob(f"{chunk:06d}.lease-*")]
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def _has_expired(self, path: Path) -> bool:
        try:
            lease = msgspec.json.decode(path.read_bytes(), type=Lease)
            return lease.expires_ms <= self._clock.now_ms() or lease.is_orphaned
        except (OSError, msgspec.MsgspecError):
            return True  # nobody can be at work under a lease that nobody can read
