"""Protobuf schemas of a registry: what of their messages is wanted, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import timedelta
from typing import Any

import numpy as np
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from numpy.typing import NDArray

from stream.decoding.messages.batch import Joined
from stream.decoding.messages.fields import EPOCH, Fields
from stream.decoding.messages.protobuf_files import ROOT, files_of, pool_of
from stream.decoding.messages.protobuf_kernel import scan_messages
from stream.decoding.messages.protobuf_plan import TIMESTAMP_NAME, ProtobufPlan
from stream.decoding.messages.registry import SchemaRegistry
from stream.decoding.messages.symbols import Symbols

_WRAPPERS = "google/protobuf/wrappers.proto"


class ProtobufSchemas:
    """Makes readers of a registry's Protobuf schemas.

    Parameters
    ----------
    registry : SchemaRegistry
    """

    has_path = True
    mend = "Send Protobuf messages through the registry that --schema-registry names, with Confluent's serializer"

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry

    def open(
        self, schema_id: int, path: Sequence[int], members: Sequence[str], symbols: Symbols
    ) -> ProtobufReader | str:
        """Make a reader of a schema's message, or say why there is none."""
        return self._registry.load(
            schema_id, "serialized", lambda schema, client: _reader(schema, client, path, members, symbols)
        )

    def example(self, members: Sequence[str], symbols: Symbols) -> ProtobufReader:
        """Make a reader of a message without fields."""
        file = FileDescriptorProto(name=ROOT, message_type=[DescriptorProto(name="Example")])
        return ProtobufReader([], file, (0,), members, symbols)


def _reader(schema: Any, client: Any, path: Sequence[int], members: Sequence[str], symbols: Symbols) -> ProtobufReader:
    if schema.schema_type != "PROTOBUF":
        raise ValueError(f"it is of type {schema.schema_type or 'AVRO'}, not PROTOBUF")
    *imported, file = files_of(schema, client)
    return ProtobufReader(imported, file, path, members, symbols)


class ProtobufReader:
    """Reads messages of one type.

    Fields that are not wanted are skipped as a schema's unknown fields are: whatever lies in them.

    Parameters
    ----------
    imported : list of FileDescriptorProto     each after those that it imports
    file : FileDescriptorProto
    path : of the message within the file: its number, and those of messages within messages
    members : names that are wanted
    symbols : takes the names of wanted enumerations

    Raises
    ------
    ValueError
        If there is no such message in the file.
    """

    def __init__(
        self, imported: list[Any], file: Any, path: Sequence[int], members: Sequence[str], symbols: Symbols
    ) -> None:
        part = FileDescriptorProto()
        part.CopyFrom(file)
        name, message = _find(part, path)
        leave_wanted(message, members)
        descriptor = pool_of([*imported, part]).FindMessageTypeByName(name)
        self._class = GetMessageClass(descriptor)
        self._getters = [_getter(descriptor.fields_by_name.get(name)) for name in members]
        self._plan = ProtobufPlan.of(descriptor, members, symbols)

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
        scan_messages(
            messages.data, messages.offsets, bodies, rows, plan.fields, plan.symbol_numbers, plan.symbol_starts,
            plan.symbol_lengths, fields.kinds, fields.numbers, fields.lengths, is_left,
        )  # fmt: skip

    def read(self, body: bytes) -> list[Any]:
        """Read one message with Google's library.

        Raises
        ------
        ValueError
            If the bytes are no such message; or whatever its values raise.
        """
        try:
            message = self._class.FromString(body)
        except DecodeError as error:
            raise ValueError(f"it is cut off, or no message of its schema: {error}") from None
        return [getter(message) for getter in self._getters]


def _find(file: Any, path: Sequence[int]) -> tuple[str, Any]:
    """Find a message by its place in a file: its full name and its descriptor."""
    names = [file.package] if file.package else []
    found, inner = file, file.message_type
    for number in path:
        if not 0 <= number < len(inner):
            raise ValueError(f"there is no message {list(path)} in it")
        found = inner[number]
        names.append(found.name)
        inner = found.nested_type
    return ".".join(names), found


def leave_wanted(message: Any, members: Sequence[str]) -> None:
    """Take the fields that are not wanted out of a message's descriptor, but for alternatives to those that are."""
    wanted = [field for field in message.field if field.name in members]
    choices = {field.oneof_index for field in wanted if field.HasField("oneof_index")}
    kept = [
        field
        for field in message.field
        if field.name in members or (field.HasField("oneof_index") and field.oneof_index in choices)
    ]
    order = sorted(choices)
    kept, oneofs = deepcopy(kept), deepcopy([message.oneof_decl[index] for index in order])
    for field in kept:
        if field.HasField("oneof_index"):
            field.oneof_index = order.index(field.oneof_index)
    del message.field[:], message.oneof_decl[:]
    message.field.extend(kept)
    message.oneof_decl.extend(oneofs)


def _getter(field: Any) -> Callable[[Any], Any]:
    """Make a function that gets a field's value from a message."""
    if field is None:
        return lambda _: None
    name, convert = field.name, _conversion(field)
    if field.is_repeated:
        return lambda message: list(getattr(message, name))
    if field.has_presence:
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    return lambda message: convert(getattr(message, name))


def _conversion(field: Any) -> Callable[[Any], Any]:
    if field.enum_type is not None:
        names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
        return lambda number: names.get(number, number)
    if field.message_type is not None and field.message_type.full_name == TIMESTAMP_NAME:
        return lambda at: EPOCH + timedelta(microseconds=at.seconds * 1_000_000 + at.nanos // 1_000)
    if field.message_type is not None and field.message_type.file.name == _WRAPPERS:
        return lambda wrapped: wrapped.value
    return lambda value: value
