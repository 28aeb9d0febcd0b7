"""What a kernel has to do for the wanted fields of a Protobuf message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from numpy.typing import NDArray

from stream.decoding.messages.fields import FALSE, FLOAT, INTEGER, NULL, TEXT
from stream.decoding.messages.symbols import Symbols

(
    INT_32, INT_64, UINT_32, UINT_64, SINT_32, SINT_64, TRUTH, ENUM,
    FIXED_64, SIGNED_64, DOUBLE, FIXED_32, SIGNED_32, SINGLE, SIZED, TIMESTAMP,
) = range(16)  # fmt: skip
"""How to read a value."""

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""How a value is laid out, as its tag says."""

NUMBER, WIRE, READ, MEMBER, DEFAULT_KIND, FIRST_SYMBOL, N_SYMBOLS = range(7)
"""Columns of a plan. DEFAULT_KIND is what an absent field is: NULL, or the kind of its default value."""

TIMESTAMP_NAME = "google.protobuf.Timestamp"
_READS = {
    FieldDescriptor.TYPE_INT32: (VARINT, INT_32, INTEGER),
    FieldDescriptor.TYPE_INT64: (VARINT, INT_64, INTEGER),
    FieldDescriptor.TYPE_UINT32: (VARINT, UINT_32, INTEGER),
    FieldDescriptor.TYPE_UINT64: (VARINT, UINT_64, INTEGER),
    FieldDescriptor.TYPE_SINT32: (VARINT, SINT_32, INTEGER),
    FieldDescriptor.TYPE_SINT64: (VARINT, SINT_64, INTEGER),
    FieldDescriptor.TYPE_BOOL: (VARINT, TRUTH, FALSE),
    FieldDescriptor.TYPE_ENUM: (VARINT, ENUM, TEXT),
    FieldDescriptor.TYPE_FIXED64: (EIGHT_BYTES, FIXED_64, INTEGER),
    FieldDescriptor.TYPE_SFIXED64: (EIGHT_BYTES, SIGNED_64, INTEGER),
    FieldDescriptor.TYPE_DOUBLE: (EIGHT_BYTES, DOUBLE, FLOAT),
    FieldDescriptor.TYPE_FIXED32: (FOUR_BYTES, FIXED_32, INTEGER),
    FieldDescriptor.TYPE_SFIXED32: (FOUR_BYTES, SIGNED_32, INTEGER),
    FieldDescriptor.TYPE_FLOAT: (FOUR_BYTES, SINGLE, FLOAT),
    FieldDescriptor.TYPE_STRING: (LENGTH, SIZED, TEXT),
    FieldDescriptor.TYPE_BYTES: (LENGTH, SIZED, TEXT),
}


@dataclass(frozen=True, slots=True)
class ProtobufPlan:
    """Wanted fields of a message.

    Attributes
    ----------
    fields : int64[f, 7]
    symbol_numbers : int64[s]     of all enumerations that are wanted, ascending within each; 0 comes first where
                                  there is one
    symbol_starts : int64[s], symbol_lengths : int32[s]
    """

    fields: NDArray[np.int64]
    symbol_numbers: NDArray[np.int64]
    symbol_starts: NDArray[np.int64]
    symbol_lengths: NDArray[np.int32]

    @classmethod
    def of(cls, message: Any, members: Sequence[str], symbols: Symbols) -> ProtobufPlan | None:
        """Plan a message; None where it is left to a library as a whole.

        That is where a wanted field is repeated, required, one of several alternatives, or a message other than an
        instant.

        Parameters
        ----------
        message : google.protobuf.descriptor.Descriptor
        members : names of the wanted fields
        symbols : takes the names of wanted enumerations
        """
        rows: list[list[int]] = []
        numbers: list[int] = []
        names: list[str] = []
        for member, name in enumerate(members):
            field = message.fields_by_name.get(name)
            if field is None:
                continue
            if not _is_simple(field):
                return None
            wire, read, kind = _READS.get(field.type, (LENGTH, TIMESTAMP, NULL))
            row = [field.number, wire, read, member, NULL if field.has_presence else kind, len(names), 0]
            if read == ENUM:
                by_number = field.enum_type.values_by_number
                ordered = sorted(by_number, key=lambda number: (number != 0, number))
                if not field.has_presence and 0 not in by_number:
                    return None
                numbers += ordered
                names += [by_number[number].name for number in ordered]
                row[N_SYMBOLS] = len(ordered)
            rows.append(row)
        return cls(np.array(rows, np.int64).reshape(-1, 7), np.array(numbers, np.int64), *symbols.add(names))


def _is_simple(field: Any) -> bool:
    if field.is_repeated or field.is_required:
        return False
    if field.containing_oneof is not None and len(field.containing_oneof.fields) > 1:
        return False
    return field.type in _READS or (field.message_type is not None and field.message_type.full_name == TIMESTAMP_NAME)
