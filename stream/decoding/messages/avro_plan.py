"""What a kernel has to do for each field of an Avro schema, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastavro.read import LOGICAL_READERS
from numpy.typing import NDArray

from stream.decoding.messages.symbols import Symbols

NOTHING, BOOLEAN, WHOLE, SINGLE, DOUBLE, SIZED, FIXED, ENUM, MILLIS, MICROS, RECORD = range(11)
"""What to read: a null, a truth value, an integer, floats, bytes after their number, so many bytes, the number of a
symbol, an instant, the fields of a record (the steps that follow)."""

STEP, MEMBER, NULL_BRANCH, SIZE, FIRST_SYMBOL = range(5)
"""Columns of a plan. SIZE is a number of bytes, of symbols, or of steps within a record."""

NO_MEMBER, NO_UNION = -1, -1
_STEPS = {
    "null": NOTHING,
    "boolean": BOOLEAN,
    "int": WHOLE,
    "long": WHOLE,
    "float": SINGLE,
    "double": DOUBLE,
    "bytes": SIZED,
    "string": SIZED,
}
_INSTANTS = {"long-timestamp-millis": MILLIS, "long-timestamp-micros": MICROS}
_UNION_BRANCHES = 2


class _NotSimpleError(Exception):
    """The schema is left to a library."""


@dataclass(frozen=True, slots=True)
class AvroPlan:
    """Steps through a record.

    Attributes
    ----------
    steps : int64[f, 5]     one a field, in the order of the bytes
    symbol_starts : int64[s], symbol_lengths : int32[s]     of all enumerations that are wanted
    """

    steps: NDArray[np.int64]
    symbol_starts: NDArray[np.int64]
    symbol_lengths: NDArray[np.int32]

    @classmethod
    def of(
        cls, writer: Mapping[str, Any], named: Mapping[str, Any], members: Sequence[str], symbols: Symbols
    ) -> AvroPlan | None:
        """Plan a record; None where it is left to a library as a whole.

        That is where it has arrays, maps, unions of more than null and one type, or itself within itself; or where a
        wanted field is a record, or of a logical type other than an instant.

        Parameters
        ----------
        writer : a record's schema, parsed by fastavro
        named : all types that it names
        members : names of the wanted fields
        symbols : takes the symbols of wanted enumerations
        """
        steps: list[list[int]] = []
        names: list[str] = []
        try:
            _plan_record(writer, named, {name: i for i, name in enumerate(members)}, steps, names, ())
        except _NotSimpleError:
            return None
        return cls(np.array(steps, np.int64).reshape(-1, 5), *symbols.add(names))


def _plan_record(
    record: Mapping[str, Any],
    named: Mapping[str, Any],
    member_of: Mapping[str, int],
    steps: list[list[int]],
    names: list[str],
    around: tuple[str, ...],
) -> None:
    if record["name"] in around:
        raise _NotSimpleError
    for field in record["fields"]:
        kind, null_branch = _without_null(field["type"])
        kind = named.get(kind, kind) if isinstance(kind, str) else kind
        member = member_of.get(field["name"], NO_MEMBER)
        step = [NOTHING, member, null_branch, 0, len(names)]
        steps.append(step)
        if isinstance(kind, dict) and kind["type"] in ("record", "error"):
            if member != NO_MEMBER:
                raise _NotSimpleError
            n_before = len(steps)
            _plan_record(kind, named, {}, steps, names, (*around, record["name"]))
            step[STEP], step[SIZE] = RECORD, len(steps) - n_before
        else:
            step[STEP], step[SIZE] = _step_of(kind, member != NO_MEMBER)
            if step[STEP] == ENUM:
                names += kind["symbols"]


def _without_null(kind: Any) -> tuple[Any, int]:
    """Take a union of null and one type apart: the type, and the branch that is null."""
    if not isinstance(kind, list):
        return kind, NO_UNION
    if len(kind) != _UNION_BRANCHES or "null" not in kind:
        raise _NotSimpleError
    null_branch = kind.index("null")
    return kind[1 - null_branch], null_branch


def _step_of(kind: Any, is_wanted: bool) -> tuple[int, int]:
    if isinstance(kind, str) and kind in _STEPS:
        return _STEPS[kind], 0
    if not isinstance(kind, dict):
        raise _NotSimpleError
    base, logical = kind["type"], f"{kind['type']}-{kind.get('logicalType')}"
    if is_wanted and logical in LOGICAL_READERS:
        if logical not in _INSTANTS:
            raise _NotSimpleError
        return _INSTANTS[logical], 0
    if base == "enum":
        return (ENUM, len(kind["symbols"])) if is_wanted else (WHOLE, 0)
    if base == "fixed":
        return FIXED, kind["size"]
    if not isinstance(base, str) or base not in _STEPS:
        raise _NotSimpleError
    return _STEPS[base], 0
