"""Messages in the registry's framing as rows: a kernel reads what is simple, the format's library the rest."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Protocol

import numpy as np
from confluent_kafka.schema_registry.serde import SchemaId
from confluent_kafka.serialization import SerializationError
from numpy.typing import NDArray

from stream.decoding.messages.batch import Joined
from stream.decoding.messages.fields import Fields
from stream.decoding.messages.framing import NO_MAGIC, TOO_SHORT, UNUSUAL, Frames
from stream.decoding.messages.instants import in_one_notation
from stream.decoding.messages.rows import LeftRows, MessageRows, rows_of
from stream.decoding.messages.scalars import fault_of, scalar_of
from stream.decoding.messages.symbols import Symbols
from tidegate.clock import Clock

_FORGET_SECONDS = 60.0  # after which an unknown schema is asked for again: someone may have registered it by now
_MAX_FAULTS = 1_000  # ids that are remembered as unknown: anything may stand where an id should
_FAULTS = {
    TOO_SHORT: "it is too short for a schema's id and a record",
    NO_MAGIC: "it does not begin with a zero byte and a schema's id",
}


class BodyReader(Protocol):
    """Reads the bodies of messages that share a schema."""

    def scan(
        self,
        messages: Joined,
        bodies: NDArray[np.int32],
        rows: NDArray[np.int64],
        fields: Fields,
        is_left: NDArray[np.bool_],
    ) -> None:
        """Read what is simple into `fields`, and tell what is left to `read`.

        Parameters
        ----------
        messages : Joined      with the symbols of all schemas after the last one
        bodies : int32[n]      where the body of each begins
        rows : int64[k]        positions of the messages that are meant
        fields : Fields        to be written
        is_left : bool[n]      to be written where `rows` say
        """
        ...

    def read(self, body: bytes) -> list[Any]:
        """Read the wanted members of one body with the format's library; raises whatever it raises."""
        ...


class Schemas(Protocol):
    """Readers by schema."""

    @property
    def has_path(self) -> bool:
        """Whether a message's place in the schema follows the schema's id."""
        ...

    @property
    def mend(self) -> str:
        """What a producer is to do about messages that cannot be read."""
        ...

    def open(self, schema_id: int, path: Sequence[int], members: Sequence[str], symbols: Symbols) -> BodyReader | str:
        """Make a reader of a schema, or say why there is none.

        Parameters
        ----------
        path : of the message in the schema (Protobuf), else empty
        members : names that are wanted
        symbols : takes texts that are no part of messages
        """
        ...

    def example(self, members: Sequence[str], symbols: Symbols) -> BodyReader:
        """Make a reader of a schema that no registry has."""
        ...


class FramedRows:
    """Decodes framed messages into columns.

    Parameters
    ----------
    candidates : mapping
        Column -> names of the member to look for; the first one that a message has is taken.
    time : str            the column that holds event times
    time_unit : str       what its numbers are in
    schemas : Schemas
    clock : Clock
    """

    def __init__(
        self, candidates: Mapping[str, tuple[str, ...]], time: str, time_unit: str, schemas: Schemas, clock: Clock
    ) -> None:
        self._members = list(dict.fromkeys(name for names in candidates.values() for name in names))
        self._columns = {column: [self._members.index(name) for name in names] for column, names in candidates.items()}
        self._times, self._time_unit = self._columns[time], time_unit
        self._schemas, self._clock = schemas, clock
        self._symbols = Symbols()
        self._readers: dict[tuple[int, tuple[int, ...]], BodyReader] = {}
        self._faults: dict[tuple[int, tuple[int, ...]], tuple[str, float]] = {}
        self.noun, self.mend = "record", schemas.mend

    def decode(self, values: Sequence[bytes]) -> MessageRows:
        """Decode messages; one that is not readable spoils no other. `O(bytes)`.

        Raises
        ------
        RegistryError
            If a schema is needed and the registry does not answer.
        """
        messages = self._joined(values)
        frames = Frames.of(messages, has_path=self._schemas.has_path)
        faults = {at: _FAULTS[int(frames.groups[at])] for at in np.flatnonzero(frames.groups < UNUSUAL).tolist()}
        n_symbol_bytes = len(self._symbols.text)
        readers = [(rows, self._reader(*self._header(values[int(rows[0])])[:2])) for rows in frames.members()]
        if len(self._symbols.text) != n_symbol_bytes:
            messages = self._joined(values)
        fields = Fields.empty(messages.data, len(self._members), len(values))
        is_left = frames.groups == UNUSUAL
        for rows, reader in readers:
            if isinstance(reader, str):
                faults |= dict.fromkeys(rows.tolist(), reader)
            else:
                reader.scan(messages, frames.bodies, rows, fields, is_left)
        left = self._read_left(values, np.flatnonzero(is_left).tolist(), faults)
        in_one_notation(fields, left, self._times, self._time_unit)
        return rows_of(fields, left, sorted(faults.items()), self._columns)

    def load_kernels(self) -> None:
        """Load compiled kernels, by reading nothing of a made-up schema. Asks no registry."""
        messages = self._joined([b""])
        fields = Fields.empty(messages.data, len(self._members), 1)
        reader = self._schemas.example(self._members, Symbols())
        reader.scan(messages, np.zeros(1, np.int32), np.empty(0, np.int64), fields, np.zeros(1, np.bool_))
        self.decode([b""])

    def _joined(self, values: Sequence[bytes]) -> Joined:
        """Join messages, and the symbols of all schemas after them."""
        joined = Joined.of([*values, bytes(self._symbols.text)])
        return Joined(joined.data, joined.offsets[:-1])

    def _header(self, value: bytes) -> tuple[int, tuple[int, ...], int]:
        """Read a header with the library: the schema's id, the message's place in it, where the body begins."""
        header = SchemaId("PROTOBUF" if self._schemas.has_path else "AVRO")
        rest = header.from_bytes(BytesIO(value))
        return header.id or 0, tuple(header.message_indexes or ()), rest.tell()

    def _reader(self, schema_id: int, path: tuple[int, ...]) -> BodyReader | str:
        key = schema_id, path
        if key in self._readers:
            return self._readers[key]
        now_seconds = self._clock.monotonic_seconds()
        fault, since = self._faults.get(key, ("", -_FORGET_SECONDS))
        if now_seconds - since < _FORGET_SECONDS:
            return fault
        reader = self._schemas.open(schema_id, path, self._members, self._symbols)
        if isinstance(reader, str):
            if len(self._faults) >= _MAX_FAULTS:
                self._faults.clear()
            self._faults[key] = reader, now_seconds
        else:
            self._readers[key] = reader
        return reader

    def _read_left(self, values: Sequence[bytes], positions: list[int], faults: dict[int, str]) -> LeftRows:
        """Read messages one by one with the library, and note the faults of those that it cannot read."""
        read, rows = [], []
        for position in positions:
            row = self._read_one(values[position])
            if isinstance(row, str):
                faults[position] = row
            else:
                read.append(position)
                rows.append(row)
        return LeftRows(read, [[row[member] for row in rows] for member in range(len(self._members))])

    def _read_one(self, value: bytes) -> list[Any] | str:
        try:
            schema_id, path, body_at = self._header(value)
        except (EOFError, SerializationError, struct.error) as error:
            return f"its header cannot be read: {error}"
        reader = self._reader(schema_id, path)
        if isinstance(reader, str):
            return reader
        try:
            found = zip(self._members, reader.read(value[body_at:]), strict=True)
            return [scalar_of(name, value) for name, value in found]
        except Exception as error:  # strangers' bytes, and a library that says little of what it raises
            return fault_of(error)
