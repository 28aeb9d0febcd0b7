"""The OpenAPI document, made from the records that the service really reads and writes."""

from __future__ import annotations

from typing import Any

import msgspec

from monitoring.webhook.payload import Delivery
from monitoring.webhook.records import MAX_BODY_BYTES, PATH, AlertRefusal, AlertsTaken

_REFUSALS = {
    400: "The body is no delivery of version 4; the same one never will be.",
    401: "No live token came with it.",
    413: f"The body is larger than {MAX_BODY_BYTES} bytes.",
    415: "It is not sent as JSON.",
    503: "It could not be kept, or did not come in time: try again.",
}


def openapi_document() -> dict[str, Any]:
    """Describe the paths (OpenAPI 3.1).

    Examples
    --------
    >>> sorted(openapi_document()["paths"]["/alerts"]["post"]["responses"])
    ['202', '400', '401', '413', '415', '503']
    """
    records = (Delivery, AlertsTaken, AlertRefusal)
    _, components = msgspec.json.schema_components(records, ref_template="#/components/schemas/{name}")
    responses = {"202": _response("AlertsTaken", "It is kept.")} | {
        str(status): _response("AlertRefusal", words) for status, words in _REFUSALS.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tidegate alerts", "version": "1", "description": "Alertmanager's webhook, version 4."},
        "paths": {
            PATH: {
                "post": {
                    "operationId": "alerts",
                    "summary": "Ask for a refresh by each alert that begins to fire.",
                    "security": [{"bearer": []}, {}],
                    "requestBody": {"required": True, "content": _json("Delivery")},
                    "responses": responses,
                }
            }
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _response(record: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": _json(record)}


def _json(record: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{record}"}}}
