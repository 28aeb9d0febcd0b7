"""A schema registry that may be away for a while: schemas by id, through Confluent's client."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from stream.decoding.messages.formats import RegistryOptions
from stream.patience import try_patiently
from tidegate.clock import Clock
from tidegate.errors import ConfigError, RegistryError

_T = TypeVar("_T")
PATIENCE_SECONDS = 60.0
"""How long a registry may be away; Kafka takes partitions from a worker that is silent for five minutes."""

_LONGEST_PAUSE_SECONDS = 5.0
_PASSING = {408, 429, 500, 502, 503, 504}  # states of HTTP that another try may mend
_NOT_FOUND = {40401, 40402, 40403}  # the registry's own codes for no such subject, version, schema
# Retries are ours, so that they end and are told; without a timeout a silent registry would stop a worker for ever.
_DEFAULTS: dict[str, Any] = {"max.retries": 0, "timeout": 10.0}
_NUMERIC = (
    "timeout",
    "max.retries",
    "retries.wait.ms",
    "retries.max.wait.ms",
    "cache.capacity",
    "cache.latest.ttl.sec",
)
_USER_INFO = re.compile(r"(?<=://)([^/,]*)@")
_CREDENTIALS = "basic.auth.user.info"
_LONGEST_ANSWER = 200


class SchemaRegistry:
    """Asks a registry for schemas.

    Parameters
    ----------
    options : RegistryOptions
    clock : Clock

    Raises
    ------
    ConfigError
        If the client does not accept its URL or a property.
    """

    def __init__(self, options: RegistryOptions, clock: Clock) -> None:
        self._place = _USER_INFO.sub("", options.url)
        self._clock = clock
        try:
            self._client = SchemaRegistryClient(_DEFAULTS | _typed(options))
        except (ValueError, TypeError, OSError) as error:  # the last one: files of keys and certificates
            raise ConfigError(
                f"the schema registry's client refuses its settings ({_USER_INFO.sub('', str(error))})",
                "Correct --schema-registry or --registry",
                place=self._place,
            ) from None

    def load(self, schema_id: int, form: str | None, build: Callable[[Any, Any], _T]) -> _T | str:
        """Fetch a schema and make something of it, waiting for a registry that is away.

        Parameters
        ----------
        schema_id : int
        form : str, optional     which notation is asked for: ``serialized`` for Protobuf's
        build : callable         (schema, client) -> what is wanted; it may ask the client for more schemas

        Returns
        -------
        what `build` gives, or the reason why there is no such thing: text for a person

        Raises
        ------
        RegistryError
            If the registry was away for longer than a minute, refuses to answer, or is none.
        """

        def once() -> _T | str:
            schema = self._client.get_schema(schema_id, fmt=form)
            try:
                return build(schema, self._client)
            except Exception as error:  # a schema may be wrong in any way
                if isinstance(error, SchemaRegistryError) or _is_of_http(error):
                    raise  # the registry's fault, or another schema's: not this one's
                return f"schema {schema_id} cannot be read: {str(error) or type(error).__name__}"

        try:
            return try_patiently(
                once,
                is_passing=_is_passing,
                is_over=lambda waited_seconds: waited_seconds >= PATIENCE_SECONDS,
                pauses=(0.1, _LONGEST_PAUSE_SECONDS),
                clock=self._clock,
            )
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND:
                return f"the registry does not know schema {schema_id}, or one that it refers to"
            raise self._failure(error) from error
        except Exception as error:  # what its HTTP library raises, and what becomes of answers that are none
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> RegistryError:
        said = (str(error) or type(error).__name__)[:_LONGEST_ANSWER]
        if _is_passing(error):
            found = f"the schema registry was away for {PATIENCE_SECONDS:.0f} s ({said})"
            mend = "Check its address and that it runs, and repeat the command: it goes on from there"
        elif isinstance(error, SchemaRegistryError) and error.http_status_code in (401, 403):
            found = f"the schema registry does not let us in ({said})"
            mend = (
                "Give --registry basic.auth.user.info=USER:PASSWORD, better in TIDEGATE_REGISTRY__BASIC_AUTH_USER_INFO"
            )
        else:
            found = f"the schema registry does not answer as one ({said})"
            mend = "Check --schema-registry and the registry, and repeat the command: it goes on from there"
        return RegistryError(found, mend, place=self._place)


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, SchemaRegistryError):
        return error.http_status_code in _PASSING
    return _is_of_http(error)


def _is_of_http(error: BaseException) -> bool:
    """Whether no answer came. The client uses httpx or its successor, whichever is installed."""
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _typed(options: RegistryOptions) -> dict[str, Any]:
    """Write the client's properties: numbers as such, and credentials apart from the URL, which the client logs."""
    typed: dict[str, Any] = {
        name: float(value) if name in _NUMERIC else value for name, value in options.properties.items()
    }
    in_url = _USER_INFO.search(options.url)
    if in_url is None or _CREDENTIALS in typed:
        return typed | {"url": options.url}  # the client refuses two notations at once
    return typed | {"url": _USER_INFO.sub("", options.url), _CREDENTIALS: unquote(in_url[1])}
