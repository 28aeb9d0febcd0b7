"""Layers of settings, each over the ones before: the file, the environment, flags."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import SettingsError

from tidegate.config.names import PREFIX, flag_of
from tidegate.config.settings import RunSettings
from tidegate.errors import ConfigError

_S = TypeVar("_S", bound=RunSettings)


def load_settings(flags: Mapping[str, Any], config: Path | None = None, kind: type[_S] | None = None) -> _S:
    """Put the layers together.

    Parameters
    ----------
    flags : mapping
        Flags that were given, by field name.
    config : Path, optional
        A TOML file.
    kind : type, optional
        Which settings are asked for; default: `RunSettings`.

    Raises
    ------
    ConfigError
        If a key is unknown, a value impossible, or a file cannot be read; it names the key and the mend.
    """
    chosen: type[Any] = kind or RunSettings
    known = chosen.model_fields
    in_file = _read_toml(config, known) if config else {}
    given = {name for name in known if f"{PREFIX}{name.upper()}" in os.environ}
    beneath = {key: value for key, value in in_file.items() if key not in given}
    try:
        settings: _S = chosen(
            **_overlay(beneath, _read_properties(os.environ, known), _read_secret_files(os.environ, known), flags)
        )
        return settings
    except SettingsError as error:
        raise ConfigError(f"the environment cannot be read: {error}", "Write tables as JSON", place=PREFIX) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise _config_error(str(first["loc"][0]) if first["loc"] else "", first["msg"], config) from None


def _read_toml(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the file cannot be read: {error}", "Give a TOML file", place=str(path)) from error
    for key in content:
        if key not in known:
            raise _config_error(key, "unknown key", path, known)
    return content


def _overlay(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Put each layer over those before it; tables are merged key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            if isinstance(below, Mapping) and isinstance(value, Mapping):
                merged[key] = {**below, **value}
            else:
                merged[key] = value
    return merged


def _read_properties(environment: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``TIDEGATE_KAFKA__…`` and ``TIDEGATE_REGISTRY__…`` variables that hold the value themselves."""
    values: dict[str, Any] = {}
    for variable, value in environment.items():
        field, _, inner = variable.removeprefix(PREFIX).lower().partition("__")
        if variable.startswith(PREFIX) and field in known and inner and not inner.endswith("_file"):
            values.setdefault(field, {})[inner.replace("_", ".")] = value
    return values


def _read_secret_files(environment: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``TIDEGATE_FIELD_FILE`` variables, a double underscore reaching into a table (``KAFKA__…``)."""
    values: dict[str, Any] = {}
    for variable, path in environment.items():
        if not (variable.startswith(PREFIX) and variable.endswith("_FILE")):
            continue
        field, _, inner = variable.removeprefix(PREFIX).removesuffix("_FILE").lower().partition("__")
        if field not in known:
            continue
        try:
            secret = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the secret cannot be read: {error}", "Check the path", place=variable) from error
        if inner:
            values.setdefault(field, {})[inner.replace("_", ".")] = secret
        else:
            values[field] = secret
    return values


def _config_error(key: str, problem: str, config: Path | None, known: Mapping[str, Any] | None = None) -> ConfigError:
    near = difflib.get_close_matches(key, known or {}, n=1)
    if problem == "unknown key":
        mend = f"Did you mean {near[0]!r}?" if near else "See `tidegate run --help` for the keys"
        return ConfigError(f"unknown key {key!r}", mend, place=str(config))
    other = "" if problem == "Field required" else ", another value"
    return ConfigError(problem, f"Give {flag_of(key)}, or {key!r} in the configuration{other}", place=flag_of(key))
