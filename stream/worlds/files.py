"""Worlds as files: the log, and its ground truth beside it."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from stream.worlds.interests import Clusters, PlantedDrift
from stream.worlds.sessions import DayOfEvents
from stream.worlds.settings import DriftKind
from stream.worlds.world import World
from tidegate.clock import iso_utc
from tidegate.errors import RequestError
from tidegate.files import write_atomically

_SCHEMA = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("category", pa.string()),
        ("timestamp", pa.int64()),
        ("engagement", pa.float32()),
    ]
)

# Lists of names alone: a pair, or its successors, reads better in one line.
_INNER_LIST = re.compile(r'\[\s*"[^\[\]]*\]')

_Write = Callable[[Any], None]
_Opener = Callable[[BinaryIO], AbstractContextManager[_Write]]


def write_log(world: World, path: Path) -> int:
    """Write a world's events, a day at a time, and return how many.

    Columns `user_id`, `item_id`, `category` (the cluster's name), `timestamp` (Unix seconds), `engagement`. The same
    world makes the same bytes. The file appears at its path when it is complete.

    Raises
    ------
    RequestError
        If the suffix is none of ``.csv``, ``.csv.gz``, ``.jsonl`` and ``.parquet``, or the folder is not there.
    """
    opener = next((opener for suffix, opener in _FORMATS.items() if path.name.endswith(suffix)), None)
    if opener is None:
        raise RequestError(f"{path.name} names no known format", f"End it in {', '.join(_FORMATS)}", place="--out")
    _require_folder(path)
    names = pa.array(world.cluster_names)
    n_events = 0
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with unfinished.open("wb") as file, opener(file) as write:
            for day in world.days_of_events():
                write(_table(day, names))
                n_events += day.user_id.shape[0]
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return n_events


def _require_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise RequestError(f"{path.parent} is no folder", "Create it, or name another", place=str(path))


def _table(day: DayOfEvents, names: Any) -> Any:
    columns = [day.user_id, day.item_id, names.take(pa.array(day.cluster)), day.time_s, day.engagement]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=_SCHEMA)


@contextmanager
def _csv(file: BinaryIO) -> Iterator[_Write]:
    file.write((",".join(_SCHEMA.names) + "\n").encode())  # the writer's own header would be quoted
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with pyarrow.csv.CSVWriter(file, _SCHEMA, write_options=options) as writer:
        yield writer.write_table


@contextmanager
def _csv_gz(file: BinaryIO) -> Iterator[_Write]:
    # Without name and time in its header, so that equal logs are equal files.
    packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    with packed, _csv(cast(BinaryIO, packed)) as write:
        yield write


@contextmanager
def _jsonl(file: BinaryIO) -> Iterator[_Write]:
    encoder = msgspec.json.Encoder()

    def write(table: Any) -> None:
        rows = table.to_pylist()
        for row in rows:  # the float64 of a float32 shows digits that nobody drew
            row["engagement"] = round(row["engagement"], 3)
        file.write(encoder.encode_lines(rows))

    yield write


@contextmanager
def _parquet(file: BinaryIO) -> Iterator[_Write]:
    with pyarrow.parquet.ParquetWriter(file, _SCHEMA) as writer:
        yield writer.write_table


_FORMATS: dict[str, _Opener] = {".csv": _csv, ".csv.gz": _csv_gz, ".jsonl": _jsonl, ".parquet": _parquet}


def write_truth(world: World, path: Path) -> None:
    """Write a world's parameters and planted drifts as JSON.

    `start` and `end` bound the change: abrupt drift starts and ends at one instant, gradual drift is complete at
    its end, seasonal drift alternates in between. ``pairs[i]`` goes from ``before[i]`` to ``after[i]``.

    Raises
    ------
    RequestError
        If the folder is not there.
    """
    _require_folder(path)
    parameters = {key: value for key, value in asdict(world).items() if key not in {"name", "seed", "drifts"}}
    truth = {
        "world": world.name,
        "seed": world.seed,
        "parameters": parameters,
        "start": iso_utc(world.start_s * 1_000),
        "end": iso_utc(world.end_s * 1_000),
        "drifts": [_described(world, planted) for planted in world.interests.planted],
    }
    text = _INNER_LIST.sub(lambda match: f"[{' '.join(match[0][1:-1].split())}]", json.dumps(truth, indent=1))
    write_atomically(path, f"{text}\n".encode())


def _described(world: World, planted: PlantedDrift) -> dict[str, object]:
    names = world.cluster_names
    start, end = planted.drift.days(world.days)

    def named(rows: Clusters) -> list[list[str]]:
        return [[names[cluster] for cluster in row] for row in rows.tolist()]

    period = {"period_days": planted.drift.period_days} if planted.drift.kind is DriftKind.SEASONAL else {}
    return {
        "kind": planted.drift.kind.value,
        "start": iso_utc(world.midnight_s(start) * 1_000),
        "end": iso_utc(world.midnight_s(end) * 1_000),
        **period,
        "traffic_share": round(planted.traffic_share, 6),
        "pairs": [[names[c1], names[c2]] for c1, c2 in planted.pairs.tolist()],
        "before": named(planted.before),
        "after": named(planted.after),
    }
