"""Versions of the transition table on disk: published whole, never altered, one of them current.

::

    tables/
    ├── CURRENT              the pointer: the version that serves, moved by one atomic rename
    ├── history.jsonl        every move of the pointer: when, from, to, who, why
    ├── .lock                held while a version is published, rolled back or deleted
    └── v00000007/ …         see `refresh.table_manifest`
"""

from __future__ import annotations

import fcntl
import getpass
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from refresh.table import TransitionTable
from refresh.table_diff import diff_tables, share_catalogue
from refresh.table_manifest import Manifest, read_manifest, read_table, write_manifest, write_table_files
from tidegate.clock import Clock, SystemClock
from tidegate.contracts import Trigger
from tidegate.errors import CorruptTableError, RequestError, TableError
from tidegate.files import flush_folder, write_atomically

_LOG = logging.getLogger(__name__)
_FOLDER = re.compile(r"v(\d{8,})")
_POINTER, _HISTORY, _LOCK, _TEMPORARY = "CURRENT", "history.jsonl", ".lock", ".tmp-"


class PointerMove(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the history: the pointer went from one version to another."""

    time_ms: int
    action: str
    from_version: int | None
    to_version: int
    who: str
    why: str


class TableStore:
    """The versions below one folder. Any number of readers; writers take turns.

    Parameters
    ----------
    root : Path
        Created on the first publish.
    clock : Clock, optional
        Tells `created_ms` and the history's times.
    """

    def __init__(self, root: Path, clock: Clock | None = None) -> None:
        self.root = root
        self._clock = clock or SystemClock()

    @property
    def pointer(self) -> Path:
        """The file that names the current version."""
        return self.root / _POINTER

    def current(self) -> int | None:
        """Version that serves; None before the first publish.

        Raises
        ------
        CorruptTableError
            If the pointer does not name a version.
        """
        try:
            text = self.pointer.read_bytes().decode("ascii", "replace")
        except FileNotFoundError:
            return None
        match = _FOLDER.fullmatch(text.strip())
        if match is None:
            found = f"found {text[:40]!r}, required is a version such as v00000001"
            raise CorruptTableError(found, self._mend(None), place=str(self.pointer))
        return int(match[1])

    def numbers(self) -> list[int]:
        """Versions on disk, ascending, whether sound or not."""
        names = (path.name for path in self.root.iterdir()) if self.root.is_dir() else iter(())
        return sorted(int(match[1]) for name in names if (match := _FOLDER.fullmatch(name)))

    def manifest(self, version: int) -> Manifest:
        """Read one version's manifest.

        Raises
        ------
        RequestError
            If there is no such version.
        CorruptTableError
            If the manifest cannot be believed.
        """
        if not self._folder(version).is_dir():
            on_disk = ", ".join(str(number) for number in self.numbers()) or "none"
            raise RequestError(f"there is no version {version}", f"Name one of those on disk: {on_disk}", place="table")
        manifest = read_manifest(self._folder(version), self._mend(version))
        if manifest.version != version:
            found = f"the manifest is of version {manifest.version}, required is {version}"
            raise CorruptTableError(found, self._mend(version), place=str(self._folder(version)))
        return manifest

    def versions(self) -> list[Manifest]:
        """Manifests of all versions, ascending; raises as `manifest` does."""
        return [self.manifest(version) for version in self.numbers()]

    def load(self, version: int | None = None, *, verify: bool = True) -> TransitionTable:
        """Map a version into memory (default: the current one). `O(bytes)` with `verify`, else `O(1)`.

        Raises
        ------
        RequestError
            If there is no such version, or none at all.
        CorruptTableError
            If a byte of it is not what the manifest says.
        """
        version = self._current_or_refuse() if version is None else version
        manifest = self.manifest(version)
        return read_table(self._folder(version), manifest, self._mend(version), verify=verify)

    def verify(self, version: int) -> Manifest:
        """Check every file of a version, and that the arrays still mean what was published; raises as `load` does."""
        manifest = self.manifest(version)
        found = self.load(version).content_checksum()
        if found != manifest.content_checksum:
            wrong = f"the content's checksum is {found}, the manifest expects {manifest.content_checksum}"
            raise CorruptTableError(wrong, self._mend(version), place=str(self._folder(version)))
        return manifest

    def publish(
        self,
        table: TransitionTable,
        *,
        window_end_ms: int,
        trigger: Trigger,
        reasons: Mapping[str, int],
        engine_name: str,
        engine_fingerprint: str,
    ) -> int:
        """Make `table` the current version; returns its number.

        The same content for the same window is published once: where the current version, or a child of it that a
        crash kept from being pointed to, already is this table, that version is returned.

        1. Take the lock, and remove what a crashed publisher left.
        2. Look for the same content.
        3. Write arrays and manifest into a temporary folder, each file flushed.
        4. Rename it to its version and flush the root: now the version exists, whole.
        5. Move the pointer: now it serves.

        Raises
        ------
        TableError
            If another publisher is at work.
        """
        with self._locked():  # 1
            for leftover in self.root.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(leftover)
            parent, checksum = self.current(), table.content_checksum()
            version = self._published(checksum, window_end_ms, parent)  # 2
            if version is None:
                rows_changed, rows_reweighted = self._changes(table, parent)
                draft = Manifest(
                    version=max([*self.numbers(), parent or 0], default=0) + 1,
                    parent=parent,
                    created_ms=self._clock.now_ms(),
                    window_end_ms=window_end_ms,
                    trigger=trigger,
                    reasons=dict(reasons),
                    engine_name=engine_name,
                    engine_fingerprint=engine_fingerprint,
                    clusters=len(table.cluster_names),
                    top_n=table.top_n,
                    rows=table.n_rows,
                    backoff_rows=table.n_backoff_rows,
                    rows_changed=rows_changed,
                    rows_reweighted=rows_reweighted,
                    content_checksum=checksum,
                    files={},
                )
                version = self._write_version(draft, table)  # 3, 4
            if version != parent:
                self._point_to(version, parent, "publish", _user(), trigger.value)  # 5
            return version

    def _write_version(self, draft: Manifest, table: TransitionTable) -> int:
        temporary = self.root / f"{_TEMPORARY}{draft.version}"
        temporary.mkdir()
        write_manifest(temporary, msgspec.structs.replace(draft, files=write_table_files(temporary, table)))  # 3
        flush_folder(temporary)
        temporary.rename(self._folder(draft.version))  # 4
        flush_folder(self.root)
        return draft.version

    def _published(self, checksum: str, window_end_ms: int, parent: int | None) -> int | None:
        """Version that already is what shall be published: the current one, or an unpointed child of it."""
        for version in reversed(self.numbers()):
            try:
                found = self.manifest(version)
                is_same = (found.content_checksum, found.window_end_ms) == (checksum, window_end_ms)
                if is_same and parent in (version, found.parent):
                    self.verify(version)
                    return version
            except CorruptTableError:
                continue  # it does not hold what was published; a new version is the mend
        return None

    def _changes(self, table: TransitionTable, parent: int | None) -> tuple[int, int]:
        """Rows changed and rows reweighted against the parent; all rows where another catalogue begins."""
        all_rows = table.n_rows + table.n_backoff_rows, 0
        if parent is None:
            return all_rows
        try:
            before = self.load(parent)
        except TableError as error:
            _LOG.warning("version %d cannot be compared with; all rows count as changed: %s", parent, error)
            return all_rows
        if not share_catalogue(table, before):
            return all_rows
        diff = diff_tables(table, before)
        return diff.rows_changed, diff.rows_reweighted

    def rollback(self, to: int | None = None, *, why: str, who: str | None = None) -> int:
        """Let an earlier (or later) version serve again; returns its number.

        Parameters
        ----------
        to : int, optional
            Default: the parent of the current version.
        why, who : str
            For the history; `who` defaults to the user of this process.

        Raises
        ------
        RequestError
            If there is no version to go to.
        CorruptTableError
            If the target is corrupt; the pointer stays.
        TableError
            If a publisher is at work.
        """
        if not self.root.is_dir():
            self._current_or_refuse()
        with self._locked():
            current = self._current_if_readable()
            target = self._parent_of(current) if to is None else to
            self.verify(target)
            if target != current:
                self._point_to(target, current, "rollback", who or _user(), why)
            return target

    def retain(self, n_newest: int) -> list[int]:
        """Delete all but the newest versions and the current one; returns the numbers that went.

        Readers that have mapped a deleted version keep it until they let go.

        Raises
        ------
        RequestError
            If `n_newest` is below 1.
        TableError
            If a publisher is at work.
        """
        if n_newest < 1:
            raise RequestError(f"{n_newest} versions cannot be retained", "Retain 1 or more", place="retain")
        if not self.root.is_dir():
            return []
        with self._locked():
            deleted = [version for version in self.numbers()[:-n_newest] if version != self.current()]
            for version in deleted:
                # renamed first, so that no crash leaves half a version under its name
                shutil.rmtree(self._folder(version).rename(self.root / f"{_TEMPORARY}deleted-{version}"))
            flush_folder(self.root)
        return deleted

    def history(self) -> list[PointerMove]:
        """Read the moves of the pointer, oldest first; a line that a crash cut short is left out."""
        path = self.root / _HISTORY
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        return [msgspec.json.decode(line, type=PointerMove) for line in lines if line.endswith(b"}\n")]

    def _point_to(self, version: int, before: int | None, action: str, who: str, why: str) -> None:
        now_ms = self._clock.now_ms()
        move = PointerMove(time_ms=now_ms, action=action, from_version=before, to_version=version, who=who, why=why)
        write_atomically(self.pointer, f"{self._folder(version).name}\n".encode())
        with (self.root / _HISTORY).open("ab+") as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                file.write(b"\n")  # end the line that a crash cut short
            file.write(msgspec.json.encode(move) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store's lock; the kernel drops it when the process dies."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / _LOCK).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TableError(
                    "another publish, rollback or deletion is at work, only one can be",
                    "Try again when it has ended (it takes seconds)",
                    place=str(self.root / _LOCK),
                ) from error
            yield

    def _folder(self, version: int) -> Path:
        return self.root / f"v{version:08d}"

    def _current_or_refuse(self) -> int:
        version = self.current()
        if version is None:
            raise RequestError("no version is current", "Publish a table first", place=str(self.root))
        return version

    def _current_if_readable(self) -> int | None:
        """Find the current version for a rollback, which must also mend a broken pointer."""
        try:
            return self._current_or_refuse()
        except CorruptTableError:
            return None

    def _parent_of(self, current: int | None) -> int:
        """Where a rollback goes by default: the parent, or the version before where the manifest cannot tell."""
        try:
            parent = self.manifest(current).parent if current is not None else None
        except (CorruptTableError, RequestError):
            parent = self._before(current)
        if parent is None or parent not in self.numbers():
            found = f"version {current} has no parent on disk" if current else "the pointer names no version"
            raise RequestError(found, "Name the version to go to with --to", place="rollback")
        return parent

    def _before(self, version: int | None) -> int | None:
        earlier = [number for number in self.numbers() if version is None or number < version]
        return earlier[-1] if earlier else None

    def _mend(self, version: int | None) -> str:
        earlier = self._before(version)
        if earlier is None:
            return "No earlier version is left: publish a new one"
        return f"Serve the version before it: tidegate table rollback --to {earlier} --reason corrupt"


def _user() -> str:
    """Name of the user of this process; its number where it has no name (a container)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
