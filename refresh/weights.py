"""Which weights serve a run: immutable versions, and a pointer that moves by one atomic step, forth and back.

::

    models/<run>/
    ├── pane-000…/            what the run trained for itself
    ├── v000001/ …            versions: the weights (or the adapter) as they were judged, and ``weights.json``
    ├── moves/00000001.json   every move of the pointer: to which version, from which, who, why; the last one counts
    └── PICKED                which version the pane took that is being answered: a crash does not change it

The first version is what served before any fine-tune, so that there is always a way back. A version's folder and name
are never used for other weights: engines cache by them. Files are linked where the file system can, so a version of
many gigabytes takes no second copy.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

from refresh.engines.model_files import MANIFEST
from refresh.finetune.candidate import CANDIDATE, CandidateKind, base_fingerprint, open_candidate
from tidegate.clock import Clock, SystemClock
from tidegate.errors import EngineError, RequestError
from tidegate.files import flush_folder, sha256_of_file, write_atomically, write_once

DESCRIPTION = "weights.json"
_Record = TypeVar("_Record")
_FOLDER = re.compile(r"v(\d{6,})")
_MOVES, _PICKED = "moves", "PICKED"
_TURNS = 100
_AGAIN = "Roll back to another version (tidegate weights rollback), or restore the folder from a backup"


class WeightsKind(StrEnum):
    """What a version's folder holds."""

    FULL = "full"  # a whole model
    LORA = "lora"  # an adapter, put on the version that is its base


class WeightsVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a run's weights.

    ``name`` is what servers know it by. ``parent`` served when it was made: what a rollback goes back to. ``base`` is
    the version that an adapter is put on, None for whole weights. ``window_end_ms`` ends the window that it was
    tuned on.
    """

    format: int = 1
    version: int
    name: str
    kind: WeightsKind
    fingerprint: str
    base: int | None
    parent: int | None
    fine_tune_id: str | None
    window_end_ms: int
    created_ms: int
    files: dict[str, str]


class WeightsMove(msgspec.Struct, frozen=True, kw_only=True):
    """The pointer went to a version; 0 is what the run trains or is given at its start."""

    version: int
    before: int
    by: str
    why: str
    at_ms: int


class _Picked(msgspec.Struct, frozen=True):
    pane: int
    version: int


class WeightsStore:
    """The weights of one run.

    Parameters
    ----------
    folder : Path     ``models/<run>`` in the home folder
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder, self._clock = folder, clock or SystemClock()

    def path(self, version: int) -> Path:
        """Folder of a version."""
        return self.folder / f"v{version:06d}"

    def versions(self) -> list[WeightsVersion]:
        """All versions, ascending."""
        found = (_FOLDER.fullmatch(path.name) for path in self.folder.glob("v*"))
        return [self.get(number) for number in sorted(int(match[1]) for match in found if match)]

    def get(self, version: int) -> WeightsVersion:
        """Read what a version is.

        Raises
        ------
        RequestError
            If there is no such version.
        EngineError
            If its description is damaged.
        """
        return describe(self.path(version))

    def moves(self) -> list[WeightsMove]:
        """All moves of the pointer, oldest first."""
        paths = sorted((self.folder / _MOVES).glob("*.json"))
        return [_decoded(path, WeightsMove) for path in paths if not path.name.startswith(".")]

    def serving(self) -> WeightsVersion | None:
        """Version that the pointer names; None before the first fine-tune serves."""
        moves = self.moves()
        return self.get(moves[-1].version) if moves and moves[-1].version else None

    def pick(self, pane: int) -> WeightsVersion | None:
        """Take the version that serves for `pane`; asked again for the same pane, it is the same one.

        A pane that a crash left half answered goes on with the weights that it was begun with.
        """
        path = self.folder / _PICKED
        known = _decoded(path, _Picked) if path.is_file() else None
        if known is not None and known.pane == pane:
            return self.get(known.version) if known.version else None
        serving = self.serving()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, msgspec.json.encode(_Picked(pane, serving.version if serving else 0)))
        return serving

    def add_base(self, folder: Path, window_end_ms: int) -> WeightsVersion:
        """Keep what has served so far as a version; known weights stay the version that they are.

        Raises
        ------
        EngineError
            If it is no model, or damaged.
        """
        if (folder / DESCRIPTION).is_file():
            return describe(folder)
        fingerprint = base_fingerprint(folder)
        for known in self.versions():
            if fingerprint in (known.fingerprint, known.files.get(MANIFEST)):
                return known
        names = [path.name for path in sorted(folder.iterdir()) if path.is_file() and path.name != DESCRIPTION]
        files = {name: sha256_of_file(folder / name) for name in names}
        return self._added(
            folder, files, WeightsKind.FULL, fingerprint=fingerprint, base=None, parent=None, fine_tune_id=None,
            window_end_ms=window_end_ms,
        )  # fmt: skip

    def add(self, candidate: Path, *, parent: int, fine_tune_id: str, window_end_ms: int) -> WeightsVersion:
        """Make a candidate a version; asked again for the same fine-tune, it is the same version.

        Parameters
        ----------
        parent : version that serves now, and that an adapter is put on (or what that one is put on)

        Raises
        ------
        EngineError
            If the candidate is damaged, or an adapter is for another base.
        """
        opened = open_candidate(candidate)
        for known in self.versions():
            if known.fine_tune_id == fine_tune_id and known.fingerprint == opened.fingerprint:
                return known
        kind, base = WeightsKind.FULL, None
        if opened.manifest.kind is CandidateKind.LORA:
            kind, base = WeightsKind.LORA, self._base_of(parent)
            opened.require_base(self.path(base))
        files = opened.manifest.files | {CANDIDATE: opened.fingerprint}
        return self._added(
            candidate, files, kind, fingerprint=opened.fingerprint, base=base, parent=parent,
            fine_tune_id=fine_tune_id, window_end_ms=window_end_ms,
        )  # fmt: skip

    def _base_of(self, version: int) -> int:
        """Whole weights under a version: itself, or what its adapter is put on."""
        base = self.get(version).base
        return version if base is None else base

    def _added(
        self,
        source: Path,
        files: Mapping[str, str],
        kind: WeightsKind,
        *,
        fingerprint: str,
        base: int | None,
        parent: int | None,
        fine_tune_id: str | None,
        window_end_ms: int,
    ) -> WeightsVersion:
        """Write a version whole or not at all.

        1. Link (or copy) its files into a sibling folder, and describe them.
        2. Rename the sibling to the next free number; where another process was faster, to the one after.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_TURNS):
            known = self.versions()
            number = known[-1].version + 1 if known else 1
            made = WeightsVersion(
                version=number, name=f"{self.folder.name}-v{number:06d}-{fingerprint[:12]}", kind=kind,
                fingerprint=fingerprint, base=base, parent=parent, fine_tune_id=fine_tune_id,
                window_end_ms=window_end_ms, created_ms=self._clock.now_ms(), files=dict(files),
            )  # fmt: skip
            sibling = self.folder / f".v.{secrets.token_hex(6)}.tmp"
            sibling.mkdir()
            try:
                for name in files:  # 1
                    _link(source / name, sibling / name)
                write_atomically(sibling / DESCRIPTION, msgspec.json.format(msgspec.json.encode(made)))
                sibling.rename(self.path(number))  # 2
                flush_folder(self.folder)
                return made
            except OSError:
                if not self.path(number).exists():
                    raise
            finally:
                shutil.rmtree(sibling, ignore_errors=True)
        raise EngineError(
            "Others add versions all the time", "Find out who does, and try again", place=str(self.folder)
        )

    def move(self, version: int, *, by: str, why: str) -> WeightsMove:
        """Let `version` serve from the next pane on; 0: what the run is given or trains at its start.

        Raises
        ------
        RequestError
            If there is no such version.
        EngineError
            If its files are not those that were judged.
        """
        if version:
            self.verify(version)
        folder = self.folder / _MOVES
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_TURNS):
            moves = self.moves()
            before = moves[-1].version if moves else 0
            move = WeightsMove(version=version, before=before, by=by, why=why, at_ms=self._clock.now_ms())
            if write_once(folder / f"{len(moves) + 1:08d}.json", msgspec.json.encode(move)):
                return move
        raise EngineError("Others move the pointer all the time", "Find out who does, and try again", place=str(folder))

    def rollback(self, *, by: str, why: str, to: int | None = None) -> WeightsVersion:
        """Let the version serve that the present one replaced, or the one that is named.

        Raises
        ------
        RequestError
            If nothing is to be gone back to, or it serves already.
        EngineError
            If its files are not those that were judged.
        """
        serving = self.serving()
        target = to if to is not None or serving is None else serving.parent
        if target is None:
            raise RequestError(
                "no fine-tune serves" if serving is None else f"version {serving.version} is the first there was",
                "See `tidegate weights list`, and name a version with --to",
                place="weights",
            )
        if serving is not None and serving.version == target:
            raise RequestError(f"version {target} serves already", "Name another one with --to", place="--to")
        self.move(target, by=by, why=why)
        return self.get(target)

    def start_over(self) -> None:
        """Let the run begin without fine-tunes, as it did the first time; the versions are kept."""
        (self.folder / _PICKED).unlink(missing_ok=True)
        if self.serving() is not None:
            self.move(0, by="tidegate", why="the run starts over")

    def verify(self, version: int) -> None:
        """Check every file of a version, and of its base.

        Raises
        ------
        RequestError
            If there is no such version.
        EngineError
            If a file is missing or changed.
        """
        found = self.get(version)
        for name, checksum in found.files.items():
            path = self.path(version) / name
            if not path.is_file() or sha256_of_file(path) != checksum:
                raise EngineError("The file is not the one that was judged (checksum)", _AGAIN, place=str(path))
        if found.base is not None:
            self.verify(found.base)


def describe(folder: Path) -> WeightsVersion:
    """Read what the version in a folder is.

    Raises
    ------
    RequestError
        If there is none.
    EngineError
        If its description is damaged.
    """
    if not (folder / DESCRIPTION).is_file():
        raise RequestError(
            f"there is no version {folder.name}", "See `tidegate weights list`", place=str(folder.parent)
        )
    return _decoded(folder / DESCRIPTION, WeightsVersion)


def _decoded(path: Path, kind: type[_Record]) -> _Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise EngineError(f"It cannot be read ({error})", _AGAIN, place=str(path)) from None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
