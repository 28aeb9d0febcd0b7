from __future__ import annotations

from pathlib import Path

import pytest

from stream.decoding.catalogue_file import load_catalogue
from tidegate.errors import CatalogueError


def _file(folder: Path, content: str | bytes, name: str = "clusters.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", '\ufeffcluster,keywords\nnews,"press, daily"\nmusic,\n'),
        ("c.jsonl", '{"cluster": "news", "keywords": ["press", "daily"]}\n\n{"cluster": "music"}\n'),
    ],
)
def test_names_keep_their_order_and_keywords_are_optional(tmp_path: Path, name: str, text: str) -> None:
    catalogue = load_catalogue(_file(tmp_path, text, name))
    assert catalogue.names == ("news", "music")
    assert catalogue.keywords == {"news": "press, daily"}


def test_keywords_may_be_absent_altogether(tmp_path: Path) -> None:
    assert load_catalogue(_file(tmp_path, "cluster\na\nb\n")).keywords == {}


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("c.csv", "cluster\na\na\n", "c.csv:3: cluster a is there twice"),
        ("c.csv", "cluster,keywords\n ,x\n", "c.csv:2: the cluster has no name"),
        ("c.csv", "name\na\n", "there is no column cluster; the columns are: name"),
        ("c.csv", "", "the columns are: none"),
        ("c.csv", "cluster\n", "it names no cluster"),
        ("c.csv", b"cluster\n\xff\n", "it cannot be read"),
        ("c.jsonl", '{"name": "a"}\n', "c.jsonl:1: the line does not parse"),
        ("c.jsonl", b'{"cluster": "\xff"}\n', "c.jsonl:1: the line does not parse"),
        ("c.jsonl", "\n", "it names no cluster"),
    ],
)
def test_a_faulty_catalogue_is_refused_at_its_line(tmp_path: Path, name: str, content: str | bytes, found: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(_file(tmp_path, content, name))
    assert found in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no such file"):
        load_catalogue(tmp_path / "c.csv")
