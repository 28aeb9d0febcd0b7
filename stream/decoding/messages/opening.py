"""Parsers of messages by their format."""

from __future__ import annotations

from collections.abc import Mapping

from stream.decoding.messages.formats import MessageFormat, RegistryOptions
from stream.decoding.messages.json_rows import JsonRows
from stream.decoding.messages.rows import MessageParser
from tidegate.clock import Clock
from tidegate.errors import ConfigError

_MEND_EXTRA = "Install it with: pip install 'tidegate[registry]'"


def open_parser(
    format_: MessageFormat, candidates: Mapping[str, tuple[str, ...]], time: str, time_unit: str, clock: Clock
) -> MessageParser:
    """Make a parser of messages.

    Parameters
    ----------
    candidates : mapping     column -> names of the members to look for, in this order
    time : str               the column that holds event times
    time_unit : str          what its numbers are in
    clock : Clock            for waiting until the registry answers

    Raises
    ------
    ConfigError
        If the format needs a registry and none is given, a property of its client is wrong, or the libraries are
        not installed.
    """
    if format_.name == "json":
        return JsonRows(candidates)
    if format_.registry is None:
        raise ConfigError(
            f"{format_.name} messages need a schema registry", "Name one with --schema-registry", place=format_.name
        )
    try:
        return _open_framed(format_.name, format_.registry, candidates, time, time_unit, clock)
    except ImportError as error:
        raise ConfigError(
            f"the libraries for {format_.name} are not installed ({error})", _MEND_EXTRA, place="--message-format"
        ) from error


def _open_framed(
    name: str,
    options: RegistryOptions,
    candidates: Mapping[str, tuple[str, ...]],
    time: str,
    time_unit: str,
    clock: Clock,
) -> MessageParser:
    """Load what JSON does not need, and what the other one of the two formats does not need."""
    from stream.decoding.messages.framed_rows import FramedRows
    from stream.decoding.messages.registry import SchemaRegistry

    registry = SchemaRegistry(options, clock)
    if name == "avro":
        from stream.decoding.messages.avro_schema import AvroSchemas

        return FramedRows(candidates, time, time_unit, AvroSchemas(registry), clock)
    from stream.decoding.messages.protobuf_schema import ProtobufSchemas

    return FramedRows(candidates, time, time_unit, ProtobufSchemas(registry), clock)
