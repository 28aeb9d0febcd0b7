"""Where table versions lie: what a store asks of the place, and the place that is a local folder.

::

    tables/
    ├── CURRENT              the pointer: the version that serves, moved by one atomic rename
    ├── history.jsonl        every move of the pointer: when, from, to, who, why
    ├── .lock                held while a version is published, rolled back or deleted
    └── v00000007/ …         see `refresh.table_manifest`

Places that are no folder are `refresh.table_bucket`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from tidegate.errors import CorruptTableError, TableError
from tidegate.files import flush_folder, write_atomically

_FOLDER = re.compile(r"v(\d{8,})")
_POINTER, _HISTORY, _LOCK, _TEMPORARY = "CURRENT", "history.jsonl", ".lock", ".tmp-"


class PointerMove(msgspec.Struct, frozen=True, kw_only=True):
    """The pointer went from one version to another."""

    time_ms: int
    action: str
    from_version: int | None
    to_version: int
    who: str
    why: str


class Shelf(Protocol):
    """A place of versions. Versions are written whole and never altered; one pointer names the one that serves."""

    place: str
    """The folder or URL, for people."""
    root: Path
    """Folder that versions are mapped from."""

    def pointer_state(self) -> Hashable:
        """Tell something that differs whenever the pointer has moved; None before the first move."""
        ...

    def current(self, mend: Callable[[], str]) -> int | None:
        """Version that the pointer names; CorruptTableError where it names none."""
        ...

    def move(self, move: PointerMove) -> None:
        """Let the pointer name another version; TableError where somebody else has moved it since `locked`."""
        ...

    def history(self) -> list[PointerMove]:
        """Read the moves of the pointer, oldest first."""
        ...

    def numbers(self) -> list[int]:
        """Whole versions, ascending, sound or not."""
        ...

    def holds(self, version: int) -> bool:
        """Whether there is such a version."""
        ...

    def folder(self, version: int, mend: str) -> Path:
        """Folder of a version's files; CorruptTableError where they cannot be had as they were published."""
        ...

    def manifest_folder(self, version: int) -> Path:
        """Folder in which at least the manifest of a version lies."""
        ...

    def forget(self, version: int) -> bool:
        """Drop a local copy, so that the next `folder` is a new one; False where there is none to drop."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Keep other publishers away as far as the place can; TableError where one is at work."""
        ...

    def claim(self, at_least: int) -> int:
        """Take the number of the version to write, which nobody else gets."""
        ...

    def add(self, version: int, fill: Callable[[Path], None]) -> None:
        """Write a version: `fill` puts its files into a folder, then it appears as a whole."""
        ...

    def remove(self, version: int) -> None:
        """Delete a version; a crash leaves it whole or not there."""
        ...

    def tidy(self) -> None:
        """Remove what crashed publishers have left."""
        ...


def version_name(version: int) -> str:
    """Name of a version's folder.

    Examples
    --------
    >>> version_name(7)
    'v00000007'
    """
    return f"v{version:08d}"


def version_of(name: str) -> int | None:
    """Version of a folder's name, None where it is no version's.

    Examples
    --------
    >>> version_of("v00000007"), version_of("CURRENT")
    (7, None)
    """
    match = _FOLDER.fullmatch(name)
    return int(match[1]) if match else None


@contextmanager
def file_lock(path: Path, *, waits: bool = False) -> Iterator[None]:
    """Hold a lock of this machine; the kernel drops it when the process dies.

    Raises
    ------
    TableError
        If another process holds it, and it is not to be waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise TableError(
                "another publish, rollback or deletion is at work, only one can be",
                "Try again when it has ended (it takes seconds)",
                place=str(path),
            ) from error
        yield


@contextmanager
def removed_on_failure(folder: Path) -> Iterator[None]:
    """Do not let half a version lie about on a disk that may just have become full."""
    try:
        yield
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class LocalShelf:
    """Versions below one local folder, created on the first publish."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = str(root)

    def pointer_state(self) -> Hashable:
        """One `stat`: see `Shelf.pointer_state`."""
        try:
            found = (self.root / _POINTER).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def current(self, mend: Callable[[], str]) -> int | None:
        """See `Shelf.current`."""
        pointer = self.root / _POINTER
        try:
            text = pointer.read_bytes().decode("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        version = version_of(text)
        if version is None:
            found = f"found {text[:40]!r}, required is a version such as v00000001"
            raise CorruptTableError(found, mend(), place=str(pointer))
        return version

    def move(self, move: PointerMove) -> None:
        """One rename, then a line of the history."""
        write_atomically(self.root / _POINTER, f"{version_name(move.to_version)}\n".encode())
        with (self.root / _HISTORY).open("ab+") as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                file.write(b"\n")  # end the line that a crash cut short
            file.write(msgspec.json.encode(move) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def history(self) -> list[PointerMove]:
        """Read the moves, oldest first; a line that a crash cut short is left out."""
        path = self.root / _HISTORY
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        return [msgspec.json.decode(line, type=PointerMove) for line in lines if line.endswith(b"}\n")]

    def numbers(self) -> list[int]:
        """See `Shelf.numbers`."""
        found = (version_of(path.name) for path in (self.root.iterdir() if self.root.is_dir() else ()))
        return sorted(version for version in found if version is not None)

    def holds(self, version: int) -> bool:
        """See `Shelf.holds`."""
        return (self.root / version_name(version)).is_dir()

    def folder(self, version: int, mend: str) -> Path:
        """See `Shelf.folder`."""
        return self.root / version_name(version)

    def manifest_folder(self, version: int) -> Path:
        """See `Shelf.manifest_folder`."""
        return self.root / version_name(version)

    def forget(self, version: int) -> bool:
        """There is no copy beside the version itself."""
        return False

    def locked(self) -> AbstractContextManager[None]:
        """Hold ``.lock``."""
        return file_lock(self.root / _LOCK)

    def claim(self, at_least: int) -> int:
        """Nobody else can claim one while the lock is held."""
        return max([*self.numbers(), at_least - 1]) + 1

    def add(self, version: int, fill: Callable[[Path], None]) -> None:
        """Fill a temporary folder, rename it, flush the root: see `Shelf.add`."""
        temporary = self.root / f"{_TEMPORARY}{version}"
        temporary.mkdir()
        with removed_on_failure(temporary):
            fill(temporary)
            flush_folder(temporary)
        temporary.rename(self.root / version_name(version))
        flush_folder(self.root)

    def remove(self, version: int) -> None:
        """Rename first, so that no crash leaves half a version under its name; readers keep what they have mapped."""
        doomed = (self.root / version_name(version)).rename(self.root / f"{_TEMPORARY}deleted-{version}")
        flush_folder(self.root)
        shutil.rmtree(doomed)

    def tidy(self) -> None:
        """See `Shelf.tidy`."""
        for leftover in self.root.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover)
