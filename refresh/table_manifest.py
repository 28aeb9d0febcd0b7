"""One version's folder: its arrays, the manifest that vouches for every byte, and the checks before it is believed.

::

    v00000007/
    ├── pairs.npy, clusters.npy, …       one file for each array, never pickled
    ├── cluster_names.json               names by cluster id
    ├── manifest.json                    what the version is, SHA-256 and size of each file above
    └── manifest.json.sha256             the manifest's own SHA-256, as `sha256sum -c` reads it
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.table import TransitionTable
from tidegate.contracts import Trigger
from tidegate.errors import CorruptTableError, TableError
from tidegate.files import sha256_of_file

_Decoded = TypeVar("_Decoded")
_PARSING = Lock()
"""numpy parses an array's header with `ast`, which CPython 3.11 may refuse where threads do so at once."""

FORMAT = "tidegate-table"
FORMAT_VERSION = 1
MANIFEST, MANIFEST_SUM, NAMES = "manifest.json", "manifest.json.sha256", "cluster_names.json"
ARRAYS = tuple(TransitionTable.empty(()).arrays())


class FileEntry(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is and where it comes from. Times are milliseconds since the Unix epoch, UTC."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    version: int
    parent: int | None
    created_ms: int
    window_end_ms: int
    trigger: Trigger
    reasons: dict[str, int]
    """Rows ordered, by reason."""
    engine_name: str
    engine_fingerprint: str
    template: str = ""
    """Name and SHA-256 of the template that rows were asked with; empty in versions from before it was kept."""
    clusters: int
    top_n: int
    rows: int
    backoff_rows: int
    rows_changed: int
    """Against the parent, see `TableDiff.rows_changed`; all rows where there is no parent to compare with."""
    rows_reweighted: int
    content_checksum: str
    files: dict[str, FileEntry]


class _FormatHeader(msgspec.Struct, frozen=True):
    """The two fields that every future format keeps."""

    format: str
    format_version: int


def write_table_files(folder: Path, table: TransitionTable) -> dict[str, FileEntry]:
    """Write arrays and names into `folder`, each flushed to the disk; returns their sizes and checksums."""
    for name, array in table.arrays().items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    _write(folder / NAMES, msgspec.json.encode(table.cluster_names))
    return {path.name: FileEntry(path.stat().st_size, sha256_of_file(path)) for path in sorted(folder.iterdir())}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and its checksum, each flushed to the disk."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    _write(folder / MANIFEST, content)
    _write(folder / MANIFEST_SUM, f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path, mend: str) -> Manifest:
    """Read and check a version's manifest.

    Parameters
    ----------
    mend : str
        What to tell the reader to do where it cannot be believed.

    Raises
    ------
    CorruptTableError
        If it is missing, altered, of a foreign format or of a newer format version.
    """
    path = folder / MANIFEST
    content = _read(path, mend)
    header = _decoded(content, _FormatHeader, path, mend)
    if header.format != FORMAT:
        raise CorruptTableError(f"the format is {header.format!r}, required is {FORMAT!r}", mend, place=str(path))
    if header.format_version > FORMAT_VERSION:
        newer = f"format version {header.format_version} is newer than {FORMAT_VERSION}, the newest this release reads"
        raise CorruptTableError(newer, f"Upgrade Tidegate, or: {mend}", place=str(path))
    found, expected = hashlib.sha256(content).hexdigest(), _read(folder / MANIFEST_SUM, mend).decode("ascii", "replace")
    if expected != f"{found}  {MANIFEST}\n":
        wrong = f"its SHA-256 is {found}, {MANIFEST_SUM} expects {expected.split(' ')[0]}"
        raise CorruptTableError(wrong, mend, place=str(path))
    return _decoded(content, Manifest, path, mend)


def read_table(
    folder: Path, manifest: Manifest, mend: str, *, verify: bool, busy_share: float = 1.0
) -> TransitionTable:
    """Map a version's arrays into memory, read-only.

    Parameters
    ----------
    verify : bool
        Hash every file first (about 10 ms for 10 MB); without it only sizes, dtypes and shapes are checked.
    busy_share : float
        Share of the time to spend on hashing, see `tidegate.files.sha256_of_file`.

    Raises
    ------
    CorruptTableError
        If a file is missing or is not what the manifest says.
    """
    check_files(folder, manifest, mend, verify=verify, busy_share=busy_share)
    names = _decoded(_read(folder / NAMES, mend), tuple[str, ...], folder / NAMES, mend)
    try:
        return TransitionTable(names, *(_mapped(folder / f"{name}.npy") for name in ARRAYS))
    except (ValueError, TableError) as error:
        raise CorruptTableError(f"the arrays cannot be read ({error})", mend, place=str(folder)) from error


def check_files(folder: Path, manifest: Manifest, mend: str, *, verify: bool = True, busy_share: float = 1.0) -> None:
    """Hold a version's files against its manifest; see `read_table`."""
    for name in (*(f"{array}.npy" for array in ARRAYS), NAMES):
        _check_file(folder / name, manifest.files.get(name), mend, verify=verify, busy_share=busy_share)


def _check_file(path: Path, entry: FileEntry | None, mend: str, *, verify: bool, busy_share: float) -> None:
    if entry is None:
        raise CorruptTableError(f"{MANIFEST} does not list {path.name}", mend, place=str(path))
    if not path.is_file():
        missing = f"the file is missing, expected are {entry.size} bytes with SHA-256 {entry.sha256}"
        raise CorruptTableError(missing, mend, place=str(path))
    size = path.stat().st_size
    if size == entry.size and not verify:
        return
    found = sha256_of_file(path, busy_share=busy_share)
    if (size, found) != (entry.size, entry.sha256):
        wrong = f"found {size} bytes with SHA-256 {found}, expected {entry.size} bytes with SHA-256 {entry.sha256}"
        raise CorruptTableError(wrong, mend, place=str(path))


def _mapped(path: Path) -> NDArray[Any]:
    """Map an array; as a plain ndarray, because indexing np.memmap costs 2 microseconds more."""
    with _PARSING:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return mapped


def _read(path: Path, mend: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptTableError(f"the file cannot be read ({error.strerror})", mend, place=str(path)) from error


def _decoded(content: bytes, kind: type[_Decoded], path: Path, mend: str) -> _Decoded:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptTableError(f"the content is not what belongs there ({error})", mend, place=str(path)) from error
