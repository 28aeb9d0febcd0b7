"""Options for how the engine is reached that gates ask: none of them is part of what a run is known by."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from tidegate.cli.options import given_flags, settings_options
from tidegate.config import RunSettings
from tidegate.config.identity import ENGINE_ACCESS

_F = TypeVar("_F", bound=Callable[..., Any])


def with_engine(function: _F) -> _F:
    """Add the options; the command is given those that were given as ``engine``, by setting."""

    @functools.wraps(function)
    def reaching(*args: Any, **given: Any) -> Any:
        engine = given_flags({name: given.pop(name) for name in ENGINE_ACCESS})
        return function(*args, engine=engine, **given)

    left_out = [name for name in RunSettings.model_fields if name not in ENGINE_ACCESS]
    return cast(_F, settings_options(*left_out)(reaching))
