"""The service's OpenAPI document, made from the records that it really reads and writes."""

from __future__ import annotations

from typing import Any

import msgspec

from refresh.serving.records import (
    MAX_ANSWERS,
    VERSION_HEADER,
    BatchAnswers,
    BatchRequest,
    NextAnswer,
    Refusal,
    ServiceState,
)

_RECORDS = (BatchRequest, NextAnswer, BatchAnswers, ServiceState, Refusal)
_CLUSTER = "a name of the catalogue, else an id"


def openapi_document() -> dict[str, Any]:
    """Describe every path (OpenAPI 3.1).

    Examples
    --------
    >>> sorted(openapi_document()["paths"])[:2]
    ['/healthz', '/metrics']
    """
    _, components = msgspec.json.schema_components(_RECORDS, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate lookup",
            "version": "1",
            "description": "The next interest clusters of a user, by the last two. "
            f"Every answer is of one table version, which it names in its body and in the header {VERSION_HEADER}.",
        },
        "paths": {
            "/v1/next": {"get": _next()},
            "/v1/next:batch": {"post": _batch()},
            "/healthz": {"get": _state("healthz", "Whether the process lives.", ready=False)},
            "/readyz": {"get": _state("readyz", "Whether a table serves.", ready=True)},
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Metrics in Prometheus' text format.",
                    "responses": {"200": {"description": "The metrics.", "content": {"text/plain": {}}}},
                }
            },
        },
        "components": {"schemas": components},
    }


def _next() -> dict[str, Any]:
    text = {"type": "string"}
    texts = {"type": "array", "items": text}
    parameters = [
        _parameter("c1", f"The cluster before the last: {_CLUSTER}.", text, required=True),
        _parameter("c2", f"The last cluster: {_CLUSTER}.", text, required=True),
        _parameter("n", "Clusters wanted.", {"type": "integer", "minimum": 1, "maximum": MAX_ANSWERS, "default": 1}),
        _parameter("exclude", "Clusters to pass over; each has to be of the catalogue.", texts),
        _parameter("history", "Clusters that the user has seen, to pass over; unknown ones are ignored.", texts),
    ]
    return {
        "operationId": "next",
        "summary": "The next clusters of one pair, best first.",
        "parameters": parameters,
        "responses": _responses(NextAnswer, 400, 503),
    }


def _parameter(name: str, description: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    place = {"in": "query", "required": required, "style": "form", "explode": True}
    return {"name": name, "description": description, "schema": schema, **place}


def _batch() -> dict[str, Any]:
    return {
        "operationId": "nextBatch",
        "summary": "The next clusters of many pairs, in their order.",
        "requestBody": {"required": True, "content": _json(BatchRequest)},
        "responses": _responses(BatchAnswers, 400, 413, 503),
    }


def _state(operation: str, summary: str, *, ready: bool) -> dict[str, Any]:
    found = {"200": _response(ServiceState, "It does.")}
    if ready:
        found["503"] = _response(ServiceState, "No version serves yet.")
    return {"operationId": operation, "summary": summary, "responses": found}


def _responses(record: type[msgspec.Struct], *refusals: int) -> dict[str, Any]:
    words = {400: "The request is wrong.", 413: "The body is too large.", 503: "No table serves yet."}
    return {"200": _response(record, "The answer.")} | {str(each): _response(Refusal, words[each]) for each in refusals}


def _response(record: type[msgspec.Struct], description: str) -> dict[str, Any]:
    header = {"description": "The table version that answered; 0 where none did.", "schema": {"type": "integer"}}
    return {"description": description, "headers": {VERSION_HEADER: header}, "content": _json(record)}


def _json(record: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{record.__name__}"}}}
