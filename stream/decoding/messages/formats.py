"""What a topic's messages are: JSON, or Avro or Protobuf through a schema registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """Where schemas are.

    Attributes
    ----------
    url : str               ``http://host:port``, several ones parted by commas; may hold a user and a password
    properties : mapping    more of the client's, as texts: ``basic.auth.user.info``, ``ssl.ca.location``, ``timeout``
    """

    url: str = field(repr=False)
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """What a topic's messages are.

    Attributes
    ----------
    name : {'json', 'avro', 'protobuf'}
    registry : RegistryOptions, optional    needed by the latter two
    """

    name: Literal["json", "avro", "protobuf"] = "json"
    registry: RegistryOptions | None = None
