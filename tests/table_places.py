"""Places that tables are published to, with a way to do damage there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import fsspec

from refresh.table_place import open_tables
from refresh.table_store import TableStore
from tidegate.clock import ManualClock


class Place(Protocol):
    """A place of tables as its damager sees it."""

    def store(self, machine: str = "one") -> TableStore:
        """Open it as a process of `machine` would."""
        ...

    def read(self, version: int, name: str) -> bytes: ...

    def write(self, version: int, name: str, content: bytes) -> None: ...

    def delete(self, version: int, name: str) -> None: ...

    def break_pointer(self) -> None: ...


@dataclass
class Folder:
    """A local folder."""

    home: Path

    def store(self, machine: str = "one") -> TableStore:
        return open_tables(self.home, None, ManualClock(now_ms=5_000))

    def _path(self, version: int, name: str) -> Path:
        return self.home / "tables" / f"v{version:08d}" / name

    def read(self, version: int, name: str) -> bytes:
        return self._path(version, name).read_bytes()

    def write(self, version: int, name: str, content: bytes) -> None:
        self._path(version, name).write_bytes(content)

    def delete(self, version: int, name: str) -> None:
        self._path(version, name).unlink()

    def break_pointer(self) -> None:
        (self.home / "tables" / "CURRENT").write_text("latest")


class Bucket:
    """A bucket in this process's memory; each machine that opens it has a cache of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = f"memory://bucket-{uuid4().hex}/tables"
        self.files: Any = fsspec.filesystem("memory", use_listings_cache=False)  # the very instance that stores use

    def store(self, machine: str = "one") -> TableStore:
        return open_tables(self.home / machine, self.url, ManualClock(now_ms=5_000))

    def path(self, *parts: str) -> str:
        return "/".join((self.url.removeprefix("memory:/"), *parts))

    def read(self, version: int, name: str) -> bytes:
        return bytes(self.files.cat_file(self.path(f"v{version:08d}", name)))

    def write(self, version: int, name: str, content: bytes) -> None:
        self.files.pipe_file(self.path(f"v{version:08d}", name), content)

    def delete(self, version: int, name: str) -> None:
        self.files.rm_file(self.path(f"v{version:08d}", name))

    def break_pointer(self) -> None:
        self.files.pipe_file(self.path("pointer", f"{999:012d}.json"), b"latest")


PLACES: dict[str, Callable[[Path], Place]] = {"folder": Folder, "bucket": Bucket}
