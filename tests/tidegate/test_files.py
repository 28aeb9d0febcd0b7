"""Files that are replaced whole or not at all."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from tidegate.files import sha256_of_file, write_atomically, write_once


@pytest.mark.parametrize("content", [b"", b"new", b"\x00" * 100_000])
def test_a_file_is_created_or_replaced_and_nothing_is_left_beside_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.json"
    for old in (None, b"old and longer than new"):
        if old is not None:
            path.write_bytes(old)
        write_atomically(path, content)
        assert path.read_bytes() == content
        assert os.listdir(tmp_path) == ["table.json"]  # noqa: PTH208


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), refuse)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")  # what the failed one left is not in the way
    assert os.listdir(tmp_path) == ["table.json"]  # noqa: PTH208


def test_content_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("flush"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to))[1])
    write_atomically(tmp_path / "file", b"content")
    assert steps == ["flush", "rename", "flush"]


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", b"content")


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_checksum_is_the_same_however_much_of_the_time_it_may_take(tmp_path: Path):
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 10_000)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert sha256_of_file(path) == sha256_of_file(path, busy_share=0.9) == expected


def test_of_many_writers_one_creates_a_file_and_the_others_leave_it(tmp_path: Path) -> None:
    path, created = tmp_path / "lease", list[bytes]()
    meet = threading.Barrier(6)

    def write(content: bytes) -> None:
        meet.wait(timeout=20)
        if write_once(path, content):
            created.append(content)

    threads = [threading.Thread(target=write, args=(bytes([n]) * 10_000,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert created == [path.read_bytes()]
    assert [each.name for each in tmp_path.iterdir()] == ["lease"]


def test_a_file_that_cannot_be_created_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="full"):
        write_once(tmp_path / "lease", b"mine")
    assert not list(tmp_path.iterdir())
