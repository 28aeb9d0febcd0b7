"""What the service is asked and answers, as JSON. The OpenAPI document is made from these (`refresh.serving.openapi`).

Integers are cluster ids, strings are cluster names.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from refresh.served_table import Level

MAX_BODY_BYTES = 1 << 20
MAX_BATCH_PAIRS = 10_000  # an answer of every one stays near a megabyte and tens of milliseconds
MAX_ANSWERS = 9_999

ClusterName = int | str


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/next:batch``.

    ``exclude`` is passed over for all pairs, and has to be of the catalogue; ``history[i]`` is passed over for pair i,
    and may name clusters that this table does not know.
    """

    pairs: Annotated[list[tuple[ClusterName, ClusterName]], msgspec.Meta(max_length=MAX_BATCH_PAIRS)]
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_ANSWERS)] = 1
    exclude: list[ClusterName] = []
    history: list[list[ClusterName]] = []


class NextCluster(msgspec.Struct, frozen=True):
    """One predicted cluster."""

    id: int
    name: str
    probability: float


class PairAnswer(msgspec.Struct, frozen=True):
    """The clusters predicted for one pair, best first, and the table's level they come from."""

    level: Level
    next: list[NextCluster]


class NextAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /v1/next``."""

    version: int
    c1: str
    c2: str
    level: Level
    next: list[NextCluster]


class BatchAnswers(msgspec.Struct, frozen=True):
    """Answer of ``POST /v1/next:batch``, in the order of the request's pairs."""

    version: int
    answers: list[PairAnswer]


class ServiceState(msgspec.Struct, frozen=True):
    """Answer of ``/healthz`` and ``/readyz``."""

    status: str
    version: int
    detail: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Body of every answer that is not a 2xx: what was found, what to do, and which part of the request it is about."""

    error: str
    mend: str
    place: str | None = None
    version: int = 0


class Reply(NamedTuple):
    """What goes back: the version, of which all of `body` is, also goes into a header."""

    status: int
    version: int
    body: bytes


VERSION_HEADER = "tidegate-version"
