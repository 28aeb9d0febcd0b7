"""Avro schemas of a registry: what of their records is wanted, and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any, cast

import numpy as np
from confluent_kafka.schema_registry._sync.avro import _resolve_named_schema
from confluent_kafka.schema_registry.common.avro import parse_schema_with_repo
from fastavro import _read_py, parse_schema, schemaless_reader
from numpy.typing import NDArray

from stream.decoding.messages.avro_kernel import scan_records
from stream.decoding.messages.avro_plan import AvroPlan
from stream.decoding.messages.avro_types import contains_itself, named_types, wanted_part
from stream.decoding.messages.batch import Joined
from stream.decoding.messages.fields import Fields
from stream.decoding.messages.registry import SchemaRegistry
from stream.decoding.messages.symbols import Symbols


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
        # The compiled reader would run out of stack, and the process die of it, where records nest deeply enough.
        self._read = _read_py.schemaless_reader if contains_itself(writer, named) else schemaless_reader
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
        record: Any = self._read(cast(IO[bytes], Body(body)), self._writer, self._reader)
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
