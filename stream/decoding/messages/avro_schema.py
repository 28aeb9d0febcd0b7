"""Avro schemas of a registry: what of their records is wanted, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any, cast

import numpy as np
from confluent_kafka.schema_registry._sync.avro import _resolve_named_schema
from confluent_kafka.schema_registry.common.avro import parse_schema_with_repo
from fastavro import parse_schema, schemaless_reader
from numpy.typing import NDArray

from stream.decoding.messages.avro_kernel import scan_records
from stream.decoding.messages.avro_plan import AvroPlan
from stream.decoding.messages.batch import Joined
from stream.decoding.messages.fields import Fields
from stream.decoding.messages.registry import SchemaRegistry
from stream.decoding.messages.symbols import Symbols

_NAMED = ("record", "error", "enum", "fixed")


class AvroSchemas:
    """Makes readers of a registry's Avro schemas.

    Parameters
    ----------
    registry : SchemaRegistry
    """

    has_path = False
    mend = "Send Avro records through the registry that --schema-registry names, with Confluent's serializer"

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry

    def open(self, schema_id: int, path: Sequence[int], members: Sequence[str], symbols: Symbols) -> AvroReader | str:
        """Make a reader of a schema, or say why there is none."""
        return self._registry.load(schema_id, None, lambda schema, client: _reader(schema, client, members, symbols))

    def example(self, members: Sequence[str], symbols: Symbols) -> AvroReader:
        """Make a reader of a record without fields."""
        return AvroReader(parse_schema({"type": "record", "name": "Example", "fields": []}), members, symbols)


def _reader(schema: Any, client: Any, members: Sequence[str], symbols: Symbols) -> AvroReader:
    if (schema.schema_type or "AVRO") != "AVRO":
        raise ValueError(f"it is of type {schema.schema_type}, not AVRO")
    writer = parse_schema_with_repo(schema.schema_str, _resolve_named_schema(schema, client))
    if not isinstance(writer, dict) or writer.get("type") != "record":
        raise ValueError("it is no record")
    return AvroReader(writer, members, symbols)


class AvroReader:
    """Reads records of one schema.

    Fields that are not wanted are skipped as Avro's schema resolution does: whatever lies in them.

    Parameters
    ----------
    writer : dict       a record's schema, parsed by fastavro
    members : names that are wanted
    symbols : takes the symbols of wanted enumerations
    """

    def __init__(self, writer: Any, members: Sequence[str], symbols: Symbols) -> None:
        named = named_types(writer)
        self._writer = writer
        self._reader = wanted_part(writer, named, members)
        self._members = members
        self._plan = AvroPlan.of(writer, named, members, symbols)

    def scan(
        self,
        messages: Joined,
        bodies: NDArray[np.int32],
        rows: NDArray[np.int64],
        fields: Fields,
        is_left: NDArray[np.bool_],
    ) -> None:
        """Read what is simple with a kernel, and leave the rest to `read`. `O(bytes)`."""
        plan = self._plan
        if plan is None:
            is_left[rows] = True
            return
        scan_records(
            messages.data, messages.offsets, bodies, rows, plan.steps, plan.symbol_starts, plan.symbol_lengths,
            fields.kinds, fields.numbers, fields.lengths, is_left,
        )  # fmt: skip

    def read(self, body: bytes) -> list[Any]:
        """Read one record with fastavro; raises whatever it raises, and EOFError where a body is cut off."""
        record: Any = schemaless_reader(cast(IO[bytes], Body(body)), self._writer, self._reader)
        return [record.get(name) for name in self._members]


class Body:
    """Bytes that are read from the front, and never less of them than was asked for.

    fastavro skips fields without a look at how much there was to skip.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, n_bytes: int) -> bytes:
        """Read the next bytes.

        Raises
        ------
        EOFError
            If there are not so many.
        """
        end = self._at + n_bytes
        if n_bytes < 0 or end > len(self._data):
            raise EOFError
        start, self._at = self._at, end
        return self._data[start:end]


def wanted_part(writer: Mapping[str, Any], named: Mapping[str, Any], members: Sequence[str]) -> Any:
    """Make the reader's schema: the wanted fields alone, with all types that they need.

    Parameters
    ----------
    writer : dict        a record's schema, parsed by fastavro
    named : all types that it names
    members : names that are wanted
    """
    defined = {writer["name"]}
    fields = [
        {"name": field["name"], "type": _closed(field["type"], named, defined)}
        for field in writer["fields"]
        if field["name"] in members
    ]
    return parse_schema({"type": "record", "name": writer["name"], "fields": fields})


def named_types(writer: Mapping[str, Any]) -> dict[str, Any]:
    """Find the definitions of all types that a schema names, itself among them."""
    named: dict[str, Any] = {}
    _collect(writer, named)
    return named


def _collect(kind: Any, named: dict[str, Any]) -> None:
    """Find the definitions of all named types."""
    if isinstance(kind, list):
        for branch in kind:
            _collect(branch, named)
    elif isinstance(kind, dict):
        if kind["type"] in _NAMED:
            named[kind["name"]] = kind
        for field in kind.get("fields", ()):
            _collect(field["type"], named)
        for inner in ("items", "values"):
            if inner in kind:
                _collect(kind[inner], named)
        if isinstance(kind["type"], (dict, list)):
            _collect(kind["type"], named)


def _closed(kind: Any, named: Mapping[str, Any], defined: set[str]) -> Any:
    """Write a type so that what it names is defined where it is named first."""
    if isinstance(kind, list):
        return [_closed(branch, named, defined) for branch in kind]
    if isinstance(kind, str):
        return _closed(named[kind], named, defined) if kind in named and kind not in defined else kind
    if kind["type"] in _NAMED:
        if kind["name"] in defined:
            return kind["name"]
        defined.add(kind["name"])
    inner: dict[str, Any] = {key: value for key, value in kind.items() if not key.startswith("__")}
    if "fields" in inner:
        inner["fields"] = [field | {"type": _closed(field["type"], named, defined)} for field in inner["fields"]]
    for key in ("items", "values"):
        if key in inner:
            inner[key] = _closed(inner[key], named, defined)
    if isinstance(inner["type"], (dict, list)):
        inner["type"] = _closed(inner["type"], named, defined)
    return inner
