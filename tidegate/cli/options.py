"""Command-line flags made from the fields of `RunSettings`, so that a setting is described in one place."""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tidegate.config import RunSettings
from tidegate.config.names import flag_of
from tidegate.errors import ConfigError

_F = TypeVar("_F", bound=Callable[..., Any])
_TABLES = ("kafka", "registry", "engine_options")


PIPED_WIDTH = 160  # rich would cut sentences and names at 80 columns where there is no terminal to measure


def home_option(help_text: str) -> Callable[[_F], _F]:
    """Add the flag of the folder that a run keeps its things in."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="TIDEGATE_HOME",
        default=Path(".tidegate"),
        show_default=True,
        help=help_text,
    )


def store_option(help_text: str) -> Callable[[_F], _F]:
    """Add the flag of the store's address, which may also come from the file that ``TIDEGATE_STORE_FILE`` names."""
    return click.option("--store", envvar="TIDEGATE_STORE", callback=_store_from_file, help=help_text)


def tables_option(help_text: str) -> Callable[[_F], _F]:
    """Add the flag of the place of the table's versions."""
    return click.option("--tables", envvar="TIDEGATE_TABLES", help=help_text)


def _store_from_file(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    path = os.environ.get("TIDEGATE_STORE_FILE")
    if value is not None or path is None:
        return value
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the store's address cannot be read: {error}", "Check the path", place="TIDEGATE_STORE_FILE"
        ) from error


def settings_options(*left_out: str, kind: type[RunSettings] = RunSettings) -> Callable[[_F], _F]:
    """Decorate a command with a flag for every setting but those `left_out`.

    A flag that is not given comes as None: environment, file and default decide then.
    """

    def decorate(function: _F) -> _F:
        for name, field in reversed(kind.model_fields.items()):
            if name not in left_out:
                function = _option(name, field)(function)
        return function

    return decorate


def _option(name: str, field: FieldInfo) -> Callable[[_F], _F]:
    flag = flag_of(name)
    kind = _plain_type(field.annotation)
    help_text = _help(field)
    if kind is bool:
        return click.option(flag, name, is_flag=True, default=None, help=help_text)
    if name in _TABLES:
        return click.option(flag, name, multiple=True, metavar="KEY=VALUE", help=f"{help_text}; may be repeated")
    return click.option(flag, name, type=_parameter_type(kind), default=None, help=help_text)


def _plain_type(annotation: Any) -> Any:
    """Type of a field without its ``| None``."""
    if isinstance(annotation, types.UnionType):
        return next(each for each in get_args(annotation) if each is not type(None))
    return annotation


def _parameter_type(kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind is SecretStr:
        return str
    return click.Path(path_type=Path) if kind is Path else kind


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    if field.default is PydanticUndefined or field.default is None or field.default is False:
        return text
    return f"{text} [default: {field.default}]"


def given_flags(values: dict[str, Any]) -> dict[str, Any]:
    """Keep the flags that were given, with ``--kafka KEY=VALUE`` and its like as mappings.

    Examples
    --------
    >>> given_flags({"pane": "1d", "gap": None, "kafka": ("sasl.mechanism=PLAIN",)})
    {'pane': '1d', 'kafka': {'sasl.mechanism': 'PLAIN'}}
    """
    kept = {name: value for name, value in values.items() if value is not None and value != ()}
    for name in _TABLES:
        if name in kept:
            kept[name] = dict(_key_and_value(name, entry) for entry in kept[name])
    return kept


def _key_and_value(table: str, entry: str) -> tuple[str, str]:
    key, equals, value = entry.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{entry!r} is not KEY=VALUE", param_hint=flag_of(table))
    return key, value
