"""The one place where kernels are compiled, with types that mypy understands.

Kernels are cached on disk beside the source, release the GIL, and see wrapping uint64 arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

_P = ParamSpec("_P")
_R = TypeVar("_R")


def kernel(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a kernel that runs on one core."""
    return cast(Callable[_P, _R], numba.njit(cache=True, nogil=True)(function))


def inlined_kernel(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a small kernel that other kernels take into themselves."""
    return cast(Callable[_P, _R], numba.njit(cache=True, nogil=True, inline="always")(function))


def parallel_kernel(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a kernel whose `numba.prange` loops are spread over the cores."""
    return cast(Callable[_P, _R], numba.njit(cache=True, nogil=True, parallel=True)(function))


def is_compiled(function: Callable[..., Any]) -> bool:
    """Whether `function` is compiled and has been run compiled, so that a parity test cannot compare Python to itself.

    Examples
    --------
    >>> is_compiled(len)
    False
    """
    return bool(getattr(function, "signatures", ())) and not numba.config.DISABLE_JIT
