"""Table versions in an object store, or any other place that fsspec reaches, mapped from a local cache.

::

    s3://bucket/tables/
    ├── pointer/000000000012.json    move number 12 of the pointer; the highest number is what serves
    └── v00000007/
        ├── claim.json               who writes this version; made first, so that a number has one writer
        ├── pairs.npy, …
        ├── manifest.json
        └── manifest.json.sha256     written last: without it there is no such version

Nothing is ever overwritten. The pointer moves by creating the next move, and only if it is not there yet, so of two
publishers on two machines one is refused where the store can create exclusively (S3, GCS, Azure and local files can);
elsewhere the last one wins. Either way a reader believes a version only when every byte is what its manifest says.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from refresh.table_manifest import MANIFEST, MANIFEST_SUM, check_files, read_manifest
from refresh.table_shelf import PointerMove, file_lock, removed_on_failure, version_name, version_of
from tidegate.errors import CorruptTableError, TableError, TableUnavailableError

_MOVES, _CLAIM = "pointer", "claim.json"
_TEMPORARY, _FETCHED = ".tmp-", ".fetched-"
_KEPT_COPIES = 4
_KEPT_MOVES = 1_000


class BucketShelf:
    """Versions below one URL; see `refresh.table_shelf.Shelf`.

    Parameters
    ----------
    files : fsspec's AbstractFileSystem
    base : str        path of the tables in it
    url : str         the same for people
    cache : Path      local folder for copies, which all processes of a machine may share
    """

    def __init__(self, files: Any, base: str, url: str, cache: Path) -> None:
        self._files, self._base = files, base.rstrip("/")
        self.place, self.root = url, cache
        self._seen_move = 0

    def pointer_state(self) -> Hashable:
        """One listing: see `Shelf.pointer_state`."""
        return self._last_move() or None

    def current(self, mend: Callable[[], str]) -> int | None:
        """Read the highest move: see `Shelf.current`."""
        number = self._last_move()
        if not number:
            return None
        path = self._move_path(number)
        try:
            return msgspec.json.decode(self._bytes(path), type=PointerMove).to_version
        except (msgspec.DecodeError, UnicodeDecodeError, FileNotFoundError) as error:
            raise CorruptTableError(f"the pointer cannot be read ({error})", mend(), place=path) from error

    def move(self, move: PointerMove) -> None:
        """Create the move after the one that was seen when the lock was taken: see `Shelf.move`."""
        if not self._create(self._move_path(self._seen_move + 1), msgspec.json.encode(move)):
            raise TableError(
                "another publisher has moved the pointer meanwhile, so this move would undo what it decided",
                "Try again: what was written is found and used where it still fits",
                place=self.place,
            )

    def history(self) -> list[PointerMove]:
        """Read the moves that are kept, oldest first; one that cannot be read is left out."""
        found = []
        for number in self._moves():
            with suppress(msgspec.DecodeError, UnicodeDecodeError, FileNotFoundError):
                found.append(msgspec.json.decode(self._bytes(self._move_path(number)), type=PointerMove))
        return found

    def numbers(self) -> list[int]:
        """Versions whose last file is there."""
        return sorted(version for version, names in self._objects().items() if MANIFEST_SUM in names)

    def holds(self, version: int) -> bool:
        """See `Shelf.holds`."""
        with self._asking():
            return bool(self._files.exists(self._path(version, MANIFEST_SUM)))

    def folder(self, version: int, mend: str) -> Path:
        """Fetch a version unless its copy is here, and check every byte of what was fetched: see `Shelf.folder`."""
        copy = self.manifest_folder(version)
        if copy.parent == self.root:
            return copy
        with file_lock(self.root / ".fetching", waits=True):
            copy = self.manifest_folder(version)
            if copy.parent == self.root:  # another process of this machine was faster
                return copy
            for leftover in self.root.glob(f"{_FETCHED}*"):  # of a process that was killed on the way
                shutil.rmtree(leftover)
            temporary = self.root / f"{_FETCHED}{version}"
            shutil.copytree(copy, temporary)
            manifest = read_manifest(temporary, mend)
            for name in manifest.files:
                self._fetch(self._path(version, _plain(name, mend)), temporary / name)
            check_files(temporary, manifest, mend)
            return self._keep(temporary, version)

    def manifest_folder(self, version: int) -> Path:
        """Give the copy, if it is of the very version that is there now, else a folder with its manifest alone."""
        there = {name: self._bytes_or_none(self._path(version, name)) for name in (MANIFEST, MANIFEST_SUM)}
        copy = self.root / version_name(version)
        if all(_content(copy / name) == content is not None for name, content in there.items()):
            return copy
        beside = self.root / "manifests" / version_name(version)
        beside.mkdir(parents=True, exist_ok=True)
        for name, content in there.items():
            _replace(beside / name, content)
        return beside

    def forget(self, version: int) -> bool:
        """See `Shelf.forget`."""
        copy = self.root / version_name(version)
        if not copy.is_dir():
            return False
        with file_lock(self.root / ".fetching", waits=True):
            shutil.rmtree(copy, ignore_errors=True)
        return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other publishers of this machine away; those of others are noticed when the pointer is moved."""
        with file_lock(self.root / ".lock"):
            self._seen_move = self._last_move()
            yield

    def claim(self, at_least: int) -> int:
        """Create a claim, with the next number where somebody else has it."""
        version = max([*self._objects(), at_least - 1]) + 1
        body = msgspec.json.encode(
            {"process": os.getpid(), "machine": os.uname().nodename, "token": os.urandom(8).hex()}
        )
        while not self._create(self._path(version, _CLAIM), body):
            version += 1
        return version

    def add(self, version: int, fill: Callable[[Path], None]) -> None:
        """Fill a copy, and send its files, the manifest's checksum last: see `Shelf.add`."""
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / f"{_TEMPORARY}{version}"
        temporary.mkdir()
        with removed_on_failure(temporary):
            fill(temporary)
        names = sorted(path.name for path in temporary.iterdir())
        for name in sorted(names, key=(MANIFEST, MANIFEST_SUM).__contains__):
            with self._asking():
                self._files.put_file(str(temporary / name), self._path(version, name))
        with file_lock(self.root / ".fetching", waits=True):
            self._keep(temporary, version)

    def remove(self, version: int) -> None:
        """Delete the checksum first: from then on there is no such version."""
        self._delete(self._path(version, MANIFEST_SUM))
        for name in self._objects().get(version, set()):
            self._delete(self._path(version, name))

    def tidy(self) -> None:
        """Remove versions and copies that will never be whole, and moves beyond the thousand that are kept."""
        objects = self._objects()
        whole = [version for version, names in objects.items() if MANIFEST_SUM in names]
        for version in objects:
            if version not in whole and version < max(whole, default=0):
                self.remove(version)
        for number in self._moves()[:-_KEPT_MOVES]:
            self._delete(self._move_path(number))
        for leftover in self.root.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover)

    def _last_move(self) -> int:
        return max(self._moves(), default=0)

    def _moves(self) -> list[int]:
        names = (name.rpartition("/")[2].removesuffix(".json") for name in self._names(f"{self._base}/{_MOVES}"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _objects(self) -> dict[int, set[str]]:
        """Names of the objects of each version, whole or not."""
        found: dict[int, set[str]] = {}
        for path in self._names(self._base):
            folder, _, name = path.rpartition("/")
            version = version_of(folder.rpartition("/")[2])
            if version is not None:
                found.setdefault(version, set()).add(name)
        return found

    def _names(self, folder: str) -> list[str]:
        with self._asking():
            self._files.invalidate_cache(folder)  # drivers remember listings
            try:
                return [str(name) for name in self._files.find(folder)]
            except FileNotFoundError:  # as some drivers say where nothing is
                return []

    def _bytes(self, path: str) -> bytes:
        with self._asking():
            return bytes(self._files.cat_file(path))

    def _bytes_or_none(self, path: str) -> bytes | None:
        try:
            return self._bytes(path)
        except FileNotFoundError:
            return None

    def _fetch(self, path: str, target: Path) -> None:
        try:
            with self._asking():
                self._files.get_file(path, str(target))
        except FileNotFoundError:
            target.unlink(missing_ok=True)  # `check_files` says what is missing

    def _delete(self, path: str) -> None:
        with self._asking(), suppress(FileNotFoundError):  # somebody else may be faster
            self._files.rm_file(path)

    def _create(self, path: str, content: bytes) -> bool:
        """Create an object that must not be there; True also where it is there because our answer got lost."""
        try:
            with self._asking():
                self._files.pipe_file(path, content, mode="create")
        except FileExistsError:
            return self._bytes(path) == content
        return True

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn what a driver raises into one error; each has its own kinds."""
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            raise TableUnavailableError(
                f"the tables' place does not answer as it should ({type(error).__name__}: {error})",
                "Check that it can be reached, read and written from here, then try again",
                place=self.place,
            ) from error

    def _keep(self, temporary: Path, version: int) -> Path:
        """Let a whole copy appear, and drop the oldest ones; who has mapped them keeps what is mapped."""
        copy = self.root / version_name(version)
        if copy.is_dir():  # of a version that was replaced by another of its number, or gone bad
            shutil.rmtree(copy)
        temporary.rename(copy)
        copies = [path for path in self.root.iterdir() if version_of(path.name) is not None and path != copy]
        for old in sorted(copies, key=lambda path: path.stat().st_mtime_ns)[: -(_KEPT_COPIES - 1)]:
            shutil.rmtree(old, ignore_errors=True)
        return copy

    def _move_path(self, number: int) -> str:
        return f"{self._base}/{_MOVES}/{number:012d}.json"

    def _path(self, version: int, name: str) -> str:
        return f"{self._base}/{version_name(version)}/{name}"


def _plain(name: str, mend: str) -> str:
    """Refuse names that would lead out of the folder: a manifest is not trusted to be ours."""
    if name != Path(name).name or name.startswith("."):
        raise CorruptTableError(f"{MANIFEST} lists {name!r}, which is no file of a version", mend, place=MANIFEST)
    return name


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _replace(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    sibling = path.with_name(f".{path.name}.{os.getpid()}")
    sibling.write_bytes(content)
    sibling.replace(path)
