"""The OpenAPI description of the routes, made from the records that they really read and write."""

from __future__ import annotations

from typing import Any

import msgspec

from refresh.finetune.desk import DECISIONS
from refresh.finetune.messages import PREFIX, DecisionRequest, FineTuneList, FineTuneRefusal
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus

_RECORDS = (DecisionRequest, FineTuneList, FineTune, FineTuneRefusal)
_SCHEME = "bearer"
_WORDS = {
    400: "The body is no JSON.",
    401: "There is no live token.",
    403: "The token may not do that, or none is set up.",
    404: "There is no such fine-tune.",
    409: "It is not where that begins, somebody else changed it, or its candidate is not what was judged.",
    413: "The body is too large.",
    422: "The request has another shape, or a blank name or reason.",
    503: "The store is away.",
}
_SUMMARIES = {
    FineTuneAction.APPROVE: "Approve it: it goes into service.",
    FineTuneAction.REJECT: "Reject it.",
    FineTuneAction.PROCEED: "Go on to the review in spite of a gate, or to the gates after a fault.",
    FineTuneAction.RERUN: "Go back to the step that failed, or to the beginning after a gate.",
    FineTuneAction.RETIRE: "Take it out of service.",
}


def openapi_document(prefix: str = PREFIX) -> dict[str, Any]:
    """Describe the routes as a document of their own (OpenAPI 3.1)."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate fine-tunes",
            "version": "1",
            "description": "Look at fine-tunes and decide on them. Deciding the same twice changes nothing.",
        },
        **openapi_part(prefix),
    }


def openapi_part(prefix: str = PREFIX) -> dict[str, Any]:
    """Describe the routes as ``paths`` and ``components``, for a document that has others, too.

    Examples
    --------
    >>> sorted(openapi_part()["paths"])[0]
    '/v1/finetunes'
    """
    _, components = msgspec.json.schema_components(_RECORDS, ref_template="#/components/schemas/{name}")
    one = f"{prefix}/{{fine_tune_id}}"
    decisions = {f"{one}/{action}": {"post": _decision(action)} for action in DECISIONS}
    return {
        "paths": {
            prefix: {"get": _list()},
            one: {"get": _one()},
            f"{one}/run": {"post": _run()},
            **decisions,
        },
        "components": {
            "schemas": msgspec.json.decode(msgspec.json.encode(components)),  # defaults of tuples are lists in JSON
            "securitySchemes": {_SCHEME: {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(name: str, summary: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "security": [{_SCHEME: []}], **more, "responses": responses}


def _list() -> dict[str, Any]:
    statuses = {"type": "string", "enum": list(FineTuneStatus)}
    parameters = [
        {"in": "query", "name": "run", "description": "Of this run only.", "schema": {"type": "string"}},
        {"in": "query", "name": "status", "description": "In this status only.", "schema": statuses},
    ]
    responses = _responses(FineTuneList, 401, 403, 422, 503)
    return _operation("listFineTunes", "All fine-tunes, the latest flag first.", responses, parameters=parameters)


def _named() -> list[dict[str, Any]]:
    return [{"in": "path", "name": "fine_tune_id", "required": True, "schema": {"type": "string"}}]


def _one() -> dict[str, Any]:
    responses = _responses(FineTune, 401, 403, 404, 503)
    return _operation("showFineTune", "One fine-tune, with all its steps.", responses, parameters=_named())


def _run() -> dict[str, Any]:
    responses = _responses(FineTune, 401, 403, 404, 409, 503, status=202)
    summary = "Begin or take up its work; the answer does not wait for it."
    return _operation("runFineTune", summary, responses, parameters=_named())


def _decision(action: FineTuneAction) -> dict[str, Any]:
    body = {"required": True, "content": _json(DecisionRequest)}
    responses = _responses(FineTune, 400, 401, 403, 404, 409, 413, 422, 503)
    name = f"{action}FineTune"
    return _operation(name, _SUMMARIES[action], responses, parameters=_named(), requestBody=body)


def _responses(record: type[msgspec.Struct], *refusals: int, status: int = 200) -> dict[str, Any]:
    found = {str(status): {"description": "What is recorded now.", "content": _json(record)}}
    return found | {str(code): {"description": _WORDS[code], "content": _json(FineTuneRefusal)} for code in refusals}


def _json(record: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{record.__name__}"}}}
