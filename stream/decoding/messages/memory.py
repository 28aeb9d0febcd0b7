"""Bytes in memory for kernels that scan text: eight at a time where they can.

Numba reads an array's elements one by one, passes an array as seven words, and looks for negative indices. Where a
hundred bytes are to be read in a hundred nanoseconds, plain addresses are what is left. Whoever uses these functions
keeps the array alive, and never reads more than `N_SPARE` bytes past the texts in it
(`stream.decoding.messages.batch`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

_P = ParamSpec("_P")
_R = TypeVar("_R")
N_SPARE = 8
"""Bytes that may be read past the end of what is scanned."""

_HALF, _WORD, _SINGLE, _DOUBLE = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()


def _instruction(function: Callable[..., Any]) -> Any:
    return intrinsic(function)


@_instruction
def _address_of(_: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(view.data, _WORD)

    return types.int64(array), generate


def _load(bits: int) -> Callable[[Any, Any, Any, Any], Any]:
    kind = ir.IntType(bits)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = builder.load(builder.inttoptr(arguments[0], kind.as_pointer()))
        loaded.align = 1
        return loaded if bits == 64 else builder.zext(loaded, _WORD)

    return generate


@_instruction
def _byte_at(_: Any, address: Any) -> Any:
    return types.int64(types.int64), _load(8)


@_instruction
def _word_at(_: Any, address: Any) -> Any:
    return types.uint64(types.int64), _load(64)


@_instruction
def _integer_at(_: Any, address: Any) -> Any:
    return types.int64(types.int64), _load(64)


@_instruction
def _trailing_zeros(_: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.uint64), generate


@_instruction
def _float_bits(_: Any, number: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _WORD)

    return types.int64(types.float64), generate


@_instruction
def _widened(_: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single = builder.bitcast(builder.trunc(arguments[0], _HALF), _SINGLE)
        return builder.bitcast(builder.fpext(single, _DOUBLE), _WORD)

    return types.int64(types.uint64), generate


address_of = cast(Callable[[NDArray[np.uint8]], int], _address_of)
"""Address of an array's first byte."""
byte_at = cast(Callable[[int], int], _byte_at)
"""The byte at an address."""
word_at = cast(Callable[[int], np.uint64], _word_at)
"""The eight bytes from an address on, the first one lowest."""
integer_at = cast(Callable[[int], int], _integer_at)
"""The same as a signed integer."""
trailing_zeros = cast(Callable[[np.uint64], int], _trailing_zeros)
"""Zero bits below the lowest one; nothing certain where there is none."""
float_bits = cast(Callable[[float], int], _float_bits)
"""A float's 64 bits."""
widened = cast(Callable[[np.uint64], int], _widened)
"""The 64 bits of the float that the lower 32 bits are in single precision."""
