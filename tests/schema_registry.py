"""A schema registry on loopback: as much of its REST API as clients, serializers and references need."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_MISSING = {"schema": (404, 40403), "subject": (404, 40401), "version": (404, 40402)}


class FakeRegistry:
    """Keeps schemas in memory and serves them over HTTP.

    Parameters
    ----------
    user_info : str, optional     ``USER:PASSWORD`` that clients have to show
    serializes : bool             whether Protobuf schemas are given in the notation that is asked for, as Confluent's
                                  registry does; others give back what they were given

    Attributes
    ----------
    url : str
    requests : list of str        method and path of each request so far
    failures : list of int        states of HTTP that the next requests are answered with
    """

    def __init__(self, *, user_info: str | None = None, serializes: bool = True) -> None:
        self.requests: list[str] = []
        self.failures: list[int] = []
        self._serializes = serializes
        self._authorization = f"Basic {base64.b64encode(user_info.encode()).decode()}" if user_info else None
        self._schemas: dict[int, dict[str, Any]] = {}
        self._subjects: dict[str, list[int]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def register(self, subject: str, schema: str, kind: str = "AVRO", references: list[Any] | None = None) -> int:
        """Register a schema under a subject; gives its id, the same for the same schema."""
        body = {"schema": schema, "schemaType": kind, "references": references or []}
        with self._lock:
            known = next((number for number, each in self._schemas.items() if each == body), None)
            number = known or len(self._schemas) + 1
            self._schemas[number] = body
            versions = self._subjects.setdefault(subject, [])
            if number not in versions:
                versions.append(number)
        return number

    def answer(self, method: str, path: str, query: str, body: Any, authorization: str | None) -> tuple[int, Any]:
        """Give the state of HTTP and the body."""
        self.requests.append(f"{method} {path}")
        if self.failures:
            status = self.failures.pop(0)
            return status, {"error_code": status, "message": "as the test wants it"}
        if self._authorization is not None and authorization != self._authorization:
            return 401, {"error_code": 401, "message": "Unauthorized"}
        for pattern, action in self._ROUTES:
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                return action(self, *found.groups(), query=query, body=body)
        return 404, "there is nothing here"

    def _by_id(self, number: str, *, query: str, body: Any) -> tuple[int, Any]:
        schema = self._schemas.get(int(number))
        return (200, self._shown(schema, query)) if schema else self._missing("schema")

    def _version(self, subject: str, version: str, *, query: str, body: Any) -> tuple[int, Any]:
        versions = self._subjects.get(subject)
        if versions is None:
            return self._missing("subject")
        at = len(versions) if version == "latest" else int(version)
        if not 0 < at <= len(versions):
            return self._missing("version")
        return 200, self._registered(subject, at, query)

    def _registered(self, subject: str, version: int, query: str) -> dict[str, Any]:
        number = self._subjects[subject][version - 1]
        return self._shown(self._schemas[number], query) | {"subject": subject, "version": version, "id": number}

    def _register(self, subject: str, *, query: str, body: Any) -> tuple[int, Any]:
        number = self.register(subject, body["schema"], body.get("schemaType", "AVRO"), body.get("references"))
        return 200, self._registered(subject, self._subjects[subject].index(number) + 1, query)

    def _look_up(self, subject: str, *, query: str, body: Any) -> tuple[int, Any]:
        kind, references = body.get("schemaType", "AVRO"), body.get("references") or []
        wanted = {"schema": body["schema"], "schemaType": kind, "references": references}
        for at, number in enumerate(self._subjects.get(subject, ()), 1):
            if self._schemas[number] == wanted:
                return 200, self._registered(subject, at, query)
        return self._missing("schema")

    def _missing(self, what: str) -> tuple[int, Any]:
        status, code = _MISSING[what]
        return status, {"error_code": code, "message": f"{what} not found"}

    def _shown(self, schema: dict[str, Any], query: str) -> dict[str, Any]:
        if self._serializes and schema["schemaType"] == "PROTOBUF" and "format=serialized" in query:
            return schema | {"schema": serialized(schema["schema"], self._sources())}
        return schema

    def _sources(self) -> dict[str, str]:
        """Every Protobuf file by the name that others refer to it with."""
        return {
            reference["name"]: self._schemas[self._subjects[reference["subject"]][reference["version"] - 1]]["schema"]
            for schema in self._schemas.values()
            for reference in schema["references"]
        }

    _ROUTES: tuple[tuple[str, Callable[..., tuple[int, Any]]], ...] = (
        (r"GET /schemas/ids/(\d+)", _by_id),
        (r"GET /subjects/([^/]+)/versions/(\d+|latest)", _version),
        (r"POST /subjects/([^/]+)/versions", _register),
        (r"POST /subjects/([^/]+)", _look_up),
    )


def serialized(schema: str, others: dict[str, str]) -> str:
    """Write a Protobuf file as its descriptor in base64; one that is no text is one already."""
    if "syntax" not in schema and "message " not in schema:
        return schema
    from stream.decoding.messages.protobuf_files import ROOT, compiled

    return base64.b64encode(compiled(others | {ROOT: schema}, ROOT)[-1].SerializeToString()).decode()


def _handler(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: Any) -> None:
            path, _, query = self.path.partition("?")
            status, answer = registry.answer(self.command, path, query, body, self.headers.get("Authorization"))
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
