"""Types of Avro schemas, as fastavro parses them: which ones there are, and what a part of a record needs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastavro import parse_schema

_NAMED = ("record", "error", "enum", "fixed")


def wanted_part(writer: Mapping[str, Any], named: Mapping[str, Any], members: Sequence[str]) -> Any:
    """Make the reader's schema: the wanted fields alone, with all types that they need.

    Parameters
    ----------
    writer : dict        a record's schema, parsed by fastavro
    named : all types that it names
    members : names that are wanted
    """
    defined = {writer["name"]}
    fields = [
        {"name": field["name"], "type": _closed(field["type"], named, defined)}
        for field in writer["fields"]
        if field["name"] in members
    ]
    return parse_schema({"type": "record", "name": writer["name"], "fields": fields})


def named_types(writer: Mapping[str, Any]) -> dict[str, Any]:
    """Find the definitions of all types that a schema names, itself among them."""
    named: dict[str, Any] = {}
    _collect(writer, named)
    return named


def _collect(kind: Any, named: dict[str, Any]) -> None:
    """Find the definitions of all named types."""
    if isinstance(kind, list):
        for branch in kind:
            _collect(branch, named)
    elif isinstance(kind, dict):
        if kind["type"] in _NAMED:
            named[kind["name"]] = kind
        for field in kind.get("fields", ()):
            _collect(field["type"], named)
        for inner in ("items", "values"):
            if inner in kind:
                _collect(kind[inner], named)
        if isinstance(kind["type"], (dict, list)):
            _collect(kind["type"], named)


def contains_itself(
    kind: Any, named: Mapping[str, Any], around: frozenset[str] = frozenset(), done: set[str] | None = None
) -> bool:
    """Whether records may nest without end: a type is named within itself.

    Parameters
    ----------
    kind : a schema, parsed by fastavro
    named : all types that it names
    around : names of the types that this one is within
    done : names of types that are known not to contain themselves

    Examples
    --------
    >>> tree = {"type": "record", "name": "Tree", "fields": [{"name": "left", "type": ["null", "Tree"]}]}
    >>> contains_itself(tree, {"Tree": tree}), contains_itself("string", {})
    (True, False)
    """
    done = set() if done is None else done
    kind = named.get(kind) if isinstance(kind, str) else kind
    if kind is None:
        return False
    if isinstance(kind, list):
        return any(contains_itself(branch, named, around, done) for branch in kind)
    name = kind.get("name", "")
    if name in around:
        return True
    if name in done:
        return False
    inner = [field["type"] for field in kind.get("fields", ())]
    inner += [kind[key] for key in ("items", "values") if key in kind]
    if isinstance(kind["type"], (dict, list)):
        inner.append(kind["type"])
    within = around | {name} if name else around
    if any(contains_itself(each, named, within, done) for each in inner):
        return True
    if name:
        done.add(name)
    return False


def _closed(kind: Any, named: Mapping[str, Any], defined: set[str]) -> Any:
    """Write a type so that what it names is defined where it is named first."""
    if isinstance(kind, list):
        return [_closed(branch, named, defined) for branch in kind]
    if isinstance(kind, str):
        return _closed(named[kind], named, defined) if kind in named and kind not in defined else kind
    if kind["type"] in _NAMED:
        if kind["name"] in defined:
            return kind["name"]
        defined.add(kind["name"])
    inner: dict[str, Any] = {key: value for key, value in kind.items() if not key.startswith("__")}
    if "fields" in inner:
        inner["fields"] = [field | {"type": _closed(field["type"], named, defined)} for field in inner["fields"]]
    for key in ("items", "values"):
        if key in inner:
            inner[key] = _closed(inner[key], named, defined)
    if isinstance(inner["type"], (dict, list)):
        inner["type"] = _closed(inner["type"], named, defined)
    return inner
