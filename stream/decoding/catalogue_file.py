"""The catalogue of interest clusters as a file: names in order, with optional keywords."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidegate.errors import CatalogueError


class _Line(msgspec.Struct):
    cluster: str
    keywords: str | list[str] = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The clusters that exist.

    Attributes
    ----------
    names : tuple of str     in the file's order
    keywords : dict          name -> keywords, for the clusters that have any
    """

    names: tuple[str, ...]
    keywords: dict[str, str]


def load_catalogue(path: Path) -> Catalogue:
    """Read a catalogue: CSV with the columns ``cluster`` and, if wanted, ``keywords``, or the same as JSON lines.

    Raises
    ------
    CatalogueError
        If the file is missing, unreadable or empty, or a name is blank or there twice.
    """
    if not path.is_file():
        raise CatalogueError("there is no such file", "Check the path of the catalogue", place=str(path))
    read = _json_rows if path.suffix in {".jsonl", ".ndjson"} else _csv_rows
    keywords_of: dict[str, str] = {}
    try:
        for line, name, keywords in read(path):
            place = f"{path}:{line}"
            if not name:
                raise CatalogueError("the cluster has no name", "Name it or remove the line", place=place)
            if name in keywords_of:
                raise CatalogueError(f"cluster {name} is there twice", "Keep one of the two lines", place=place)
            keywords_of[name] = keywords
    except (UnicodeDecodeError, csv.Error) as error:
        raise CatalogueError(f"it cannot be read ({error})", "Save it as UTF-8 text", place=str(path)) from error
    if not keywords_of:
        raise CatalogueError("it names no cluster", "Write one line for each cluster", place=str(path))
    return Catalogue(tuple(keywords_of), {name: words for name, words in keywords_of.items() if words})


def _csv_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if "cluster" not in (rows.fieldnames or ()):
            raise CatalogueError(
                f"there is no column cluster; the columns are: {', '.join(rows.fieldnames or ()) or 'none'}",
                "Name the columns cluster and keywords",
                place=str(path),
            )
        for row in rows:
            yield rows.line_num, (row["cluster"] or "").strip(), (row.get("keywords") or "").strip()


def _json_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line, type=_Line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                mend = 'Write {"cluster": "name", "keywords": "a, b"}'
                raise CatalogueError(f"the line does not parse ({error})", mend, place=f"{path}:{number}") from error
            keywords = row.keywords if isinstance(row.keywords, str) else ", ".join(row.keywords)
            yield number, row.cluster.strip(), keywords.strip()
