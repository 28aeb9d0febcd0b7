"""The map from items to clusters, for logs that name items only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from stream.decoding.texts import as_text
from tidegate.errors import CatalogueError, MissingColumnError

_CLUSTER_COLUMNS = ("category", "cluster")


@dataclass(frozen=True, slots=True)
class ItemClusters:
    """Which cluster an item belongs to.

    Examples
    --------
    >>> items = ItemClusters({"17": "music"}, path="items.csv")
    >>> items.cluster_of("17"), items.cluster_of("18")
    ('music', None)
    """

    by_item: Mapping[str, str]
    path: str

    def cluster_of(self, item: str) -> str | None:
        """Name of the item's cluster, None where the map has no entry."""
        return self.by_item.get(item)


def load_item_clusters(path: Path, item_column: str = "item_id", cluster_column: str | None = None) -> ItemClusters:
    """Read an item map from ``.csv``, ``.csv.gz`` or ``.parquet``.

    Rows without a cluster are left out. A row may repeat; it may not say something else.

    Parameters
    ----------
    path : Path
    item_column : str
    cluster_column : str, optional     None takes ``category``, or else ``cluster``

    Raises
    ------
    CatalogueError
        If the file is missing, unreadable, empty, or gives one item two clusters.
    MissingColumnError
        If it lacks one of the two columns.
    """
    table = _read_table(path)
    item = _column(table, (item_column,), path)
    cluster = _column(table, (cluster_column,) if cluster_column else _CLUSTER_COLUMNS, path)
    by_item: dict[str, str] = {}
    for key, name in zip(_texts(table, item), _texts(table, cluster), strict=True):
        if key and name and by_item.setdefault(key, name) != name:
            raise CatalogueError(
                f"item {key} is in cluster {by_item[key]} and in cluster {name}",
                "Keep one row for each item",
                place=str(path),
            )
    if not by_item:
        raise CatalogueError("no item has a cluster", "Give a file with one row for each item", place=str(path))
    return ItemClusters(by_item, str(path))


def _read_table(path: Path) -> Any:
    if not path.is_file():
        raise CatalogueError("there is no such file", "Check the path of the item map", place=str(path))
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        return _read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise CatalogueError(
            f"it cannot be read ({error})", "Give a CSV, CSV.gz or Parquet file with a header", place=str(path)
        ) from error


def _read_csv(path: Path) -> Any:
    with pyarrow.csv.open_csv(path) as reader:
        names = reader.schema.names
    # Every column as text, so that the id 007 stays what it is.
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return pyarrow.csv.read_csv(path, convert_options=options)


def _column(table: Any, names: tuple[str, ...], path: Path) -> str:
    for name in names:
        if name in table.column_names:
            return name
    raise MissingColumnError(
        f"there is no column {' or '.join(names)}; the columns are: {', '.join(table.column_names)}",
        "Rename the columns of the item map to item_id and category",
        place=str(path),
    )


def _texts(table: Any, name: str) -> list[str]:
    return [(text or "").strip() for text in as_text(table.column(name).combine_chunks()).to_pylist()]
