from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream.decoding.item_map import load_item_clusters
from tidegate.errors import CatalogueError, MissingColumnError


def _file(folder: Path, text: str, name: str = "items.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["items.csv", "items.csv.gz"])
def test_ids_stay_text(tmp_path: Path, name: str) -> None:
    items = load_item_clusters(_file(tmp_path, "item_id,category\n007, news \n8,\n7,music\n007,news\n", name))
    assert dict(items.by_item) == {"007": "news", "7": "music"}


def test_parquet_ids_are_read_as_their_text(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"i": [7.0, None], "cluster": ["a", "b"]}), path)
    assert load_item_clusters(path, item_column="i").cluster_of("7") == "a"


def test_an_item_in_two_clusters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="item 7 is in cluster a and in cluster b"):
        load_item_clusters(_file(tmp_path, "item_id,cluster\n7,a\n7,b\n"))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match="no column category or cluster; the columns are: item_id, x"):
        load_item_clusters(_file(tmp_path, "item_id,x\n7,a\n"))
    with pytest.raises(MissingColumnError, match="no column genre;"):
        load_item_clusters(_file(tmp_path, "item_id,category\n7,a\n"), cluster_column="genre")


@pytest.mark.parametrize("text", ["", "item_id,category\n7\n", "item_id,category\n7,\xff\n"])
def test_an_unreadable_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CatalogueError, match="cannot be read"):
        load_item_clusters(path)


def test_a_missing_or_bare_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no such file"):
        load_item_clusters(tmp_path / "items.csv")
    with pytest.raises(CatalogueError, match="no item has a cluster"):
        load_item_clusters(_file(tmp_path, "item_id,category\n"))
