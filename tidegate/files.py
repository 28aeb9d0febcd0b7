"""Writing files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`.

    1. Write a sibling file and flush it to the disk.
    2. Rename it over `path`: readers see the old or the new content, nothing between.
    3. Flush the folder, so that the rename itself survives a power cut.
    """
    sibling = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with sibling.open("wb") as file:  # 1
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sibling.replace(path)  # 2
    flush_folder(path.parent)  # 3


def write_once(path: Path, content: bytes) -> bool:
    """Create `path` whole unless it is there; tells whether this call created it.

    Of several writers, on one host or sharing the folder, exactly one creates it.

    1. Write a sibling file and flush it to the disk.
    2. Link it to its name, which fails where there is one already.
    3. Flush the folder.
    """
    # A process id would not do: two hosts may share the folder.
    sibling = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with sibling.open("wb") as file:  # 1
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(sibling, path)  # 2
    except FileExistsError:
        return False
    finally:
        sibling.unlink(missing_ok=True)
    flush_folder(path.parent)  # 3
    return True


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries (new, renamed and removed names) to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path, *, busy_share: float = 1.0) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Parameters
    ----------
    busy_share : float
        Share of the time to spend on it: below 1 the thread rests after each mebibyte (about a millisecond of
        hashing), so that others of its process, on the same core, answer in between.
    """
    if busy_share >= 1:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        started = time.thread_time()
        while n_bytes := file.readinto(buffer):
            digest.update(buffer[:n_bytes])
            busy_seconds = time.thread_time() - started
            time.sleep(busy_seconds * (1 / busy_share - 1))
            started = time.thread_time()
    return digest.hexdigest()
