"""Versions of the transition table: published whole, never altered, one of them current.

Where they lie is a shelf's matter: a local folder (`refresh.table_shelf`) or any place that fsspec reaches
(`refresh.table_bucket`); `refresh.table_place` opens the one that is named.
"""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Hashable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from refresh.table import TransitionTable
from refresh.table_diff import diff_tables, share_catalogue
from refresh.table_manifest import Manifest, read_manifest, read_table, write_manifest, write_table_files
from refresh.table_shelf import LocalShelf, PointerMove, Shelf
from tidegate.clock import Clock, SystemClock
from tidegate.contracts import Trigger
from tidegate.errors import CorruptTableError, RequestError, TableError

_LOG = logging.getLogger(__name__)


class TableStore:
    """The versions of one place. Any number of readers; writers take turns.

    Parameters
    ----------
    place : Path or Shelf
        A local folder, created on the first publish, or another place.
    clock : Clock, optional
        Tells `created_ms` and the history's times.
    """

    def __init__(self, place: Path | Shelf, clock: Clock | None = None) -> None:
        self.shelf: Shelf = LocalShelf(place) if isinstance(place, Path) else place
        self._clock = clock or SystemClock()

    @property
    def root(self) -> Path:
        """The folder that versions are mapped from; a cache where the place is no local folder."""
        return self.shelf.root

    @property
    def place(self) -> str:
        """Folder or URL of the versions."""
        return self.shelf.place

    def pointer_state(self) -> Hashable:
        """Tell something that differs whenever the pointer has moved; None before the first publish.

        Raises
        ------
        OSError, TableUnavailableError
            If the place cannot be asked for now.
        """
        return self.shelf.pointer_state()

    def current(self) -> int | None:
        """Version that serves; None before the first publish.

        Raises
        ------
        CorruptTableError
            If the pointer does not name a version.
        """
        return self.shelf.current(partial(self._mend, None))

    def numbers(self) -> list[int]:
        """Versions that are there, ascending, whether sound or not."""
        return self.shelf.numbers()

    def manifest(self, version: int) -> Manifest:
        """Read one version's manifest.

        Raises
        ------
        RequestError
            If there is no such version.
        CorruptTableError
            If the manifest cannot be believed.
        """
        if not self.shelf.holds(version):
            on_disk = ", ".join(str(number) for number in self.numbers()) or "none"
            raise RequestError(f"there is no version {version}", f"Name one of those on disk: {on_disk}", place="table")
        folder = self.shelf.manifest_folder(version)
        manifest = read_manifest(folder, self._mend(version))
        if manifest.version != version:
            found = f"the manifest is of version {manifest.version}, required is {version}"
            raise CorruptTableError(found, self._mend(version), place=str(folder))
        return manifest

    def versions(self) -> list[Manifest]:
        """Manifests of all versions, ascending; raises as `manifest` does."""
        return [self.manifest(version) for version in self.numbers()]

    def load(self, version: int | None = None, *, verify: bool = True, busy_share: float = 1.0) -> TransitionTable:
        """Map a version into memory (default: the current one). `O(bytes)` with `verify`, else `O(1)`.

        Parameters
        ----------
        busy_share : float
            Share of the time to spend on verifying, for a thread beside others that are in a hurry.

        Raises
        ------
        RequestError
            If there is no such version, or none at all.
        CorruptTableError
            If a byte of it is not what the manifest says.
        """
        version = self._current_or_refuse() if version is None else version
        try:
            return self._read(version, verify, busy_share)
        except CorruptTableError:
            if not self.shelf.forget(version):
                raise
            return self._read(version, verify, busy_share)  # a copy may have gone bad where the version has not

    def _read(self, version: int, verify: bool, busy_share: float) -> TransitionTable:
        manifest, mend = self.manifest(version), self._mend(version)
        return read_table(self.shelf.folder(version, mend), manifest, mend, verify=verify, busy_share=busy_share)

    def verify(self, version: int) -> Manifest:
        """Check every file of a version, and that the arrays still mean what was published; raises as `load` does."""
        found = self.load(version).content_checksum()
        manifest = self.manifest(version)
        if found != manifest.content_checksum:
            wrong = f"the content's checksum is {found}, the manifest expects {manifest.content_checksum}"
            raise CorruptTableError(wrong, self._mend(version), place=str(self.shelf.manifest_folder(version)))
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
        template: str = "",
        action: str = "publish",
        why: str | None = None,
        who: str | None = None,
        on_top_of: int | None = None,
    ) -> int:
        """Make `table` the current version; returns its number.

        The same content for the same window is published once: where the current version, or a child of it that a
        crash kept from being pointed to, already is this table, that version is returned.

        Parameters
        ----------
        template : str
            Name and hash of the template that rows were asked with (`refresh.template.Template.stamp`).
        action, why, who : str
            For the history; `why` defaults to the trigger, `who` to the user of this process.
        on_top_of : int, optional
            The version that must be current, where a person has looked at what it is to replace.

        1. Take the lock, and remove what a crashed publisher left.
        2. Look for the same content.
        3. Write arrays and manifest where nobody looks, each file flushed.
        4. Let it appear under its number: now the version exists, whole.
        5. Move the pointer: now it serves.

        Raises
        ------
        TableError
            If another publisher is at work, or has moved the pointer meanwhile.
        RequestError
            If another version than `on_top_of` is current.
        TableUnavailableError
            If the place cannot be reached for now; the pointer stays.
        """
        with self.shelf.locked():  # 1
            self.shelf.tidy()
            parent, checksum = self.current(), table.content_checksum()
            version = self._published(checksum, window_end_ms, parent)  # 2
            if on_top_of not in (None, parent) and version != parent:
                found = f"version {parent} serves, and the table was made to replace version {on_top_of}"
                raise RequestError(found, "Let the next refresh decide, or roll back to that version first")
            if version is None:
                rows_changed, rows_reweighted = self._changes(table, parent)
                draft = Manifest(
                    version=self.shelf.claim((parent or 0) + 1),
                    parent=parent,
                    created_ms=self._clock.now_ms(),
                    window_end_ms=window_end_ms,
                    trigger=trigger,
                    reasons=dict(reasons),
                    engine_name=engine_name,
                    engine_fingerprint=engine_fingerprint,
                    template=template,
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
                self._point_to(version, parent, action, who or _user(), why or trigger.value)  # 5
            return version

    def _write_version(self, draft: Manifest, table: TransitionTable) -> int:
        def fill(folder: Path) -> None:
            write_manifest(folder, msgspec.structs.replace(draft, files=write_table_files(folder, table)))

        self.shelf.add(draft.version, fill)
        return draft.version

    def _published(self, checksum: str, window_end_ms: int, parent: int | None) -> int | None:
        """Version that already is what shall be published: the current one, or an unpointed child of it."""
        for version in reversed(self.numbers()):
            if version < (parent or 0):  # neither the parent nor a child of it
                break
            try:
                found = self.manifest(version)
                is_same = (found.content_checksum, found.window_end_ms) == (checksum, window_end_ms)
                if is_same and parent in (version, found.parent):
                    self.verify(version)
                    return version
            except (CorruptTableError, RequestError):
                continue  # it does not hold what was published, or is gone; a new version is the mend
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
        if not self.numbers():
            self._current_or_refuse()
        with self.shelf.locked():
            current = self._current_if_readable()
            target = self._parent_of(current) if to is None else to
            self.verify(target)
            if target != current:
                self._point_to(target, current, "rollback", who or _user(), why)
                self._require(target)
            return target

    def _require(self, version: int) -> None:
        """Refuse to leave the pointer on a version that somebody deleted meanwhile (where a place has no locks)."""
        if not self.shelf.holds(version):
            found = f"version {version} was deleted while the pointer moved to it"
            raise TableError(found, "Roll back to another version; readers keep the one they have", place=self.place)

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
        old = self.numbers()[:-n_newest]
        if not old:
            return []
        with self.shelf.locked():
            deleted = []
            for version in old:
                if version != self.current():  # asked again each time: it may have moved where nothing can be locked
                    self.shelf.remove(version)
                    deleted.append(version)
        return deleted

    def history(self) -> list[PointerMove]:
        """Read the moves of the pointer, oldest first; one that a crash cut short is left out."""
        return self.shelf.history()

    def _point_to(self, version: int, before: int | None, action: str, who: str, why: str) -> None:
        now_ms = self._clock.now_ms()
        self.shelf.move(
            PointerMove(time_ms=now_ms, action=action, from_version=before, to_version=version, who=who, why=why)
        )

    def _current_or_refuse(self) -> int:
        version = self.current()
        if version is None:
            raise RequestError("no version is current", "Publish a table first", place=self.place)
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
