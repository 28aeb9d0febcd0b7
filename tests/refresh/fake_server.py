"""A small server on loopback with OpenAI's completions, that misbehaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Reply = Callable[["Handler", dict[str, Any]], None]
"""Writes the answer to a request."""


class FakeServer:
    """Answers each prompt with the code that it retrieves; `replies` come first, one a request.

    Attributes
    ----------
    url : str
    bodies : requests for completions, as they came
    replies : answers to the next requests for completions
    served : names of its models
    adapters : folders of those that it has loaded, by name; None where it loads none
    unloaded : names of those that it let go of
    n_logprobs : best tokens it returns at the most
    """

    def __init__(self, codes: list[str]) -> None:
        self.codes, self.replies, self.bodies = codes, list[Reply](), list[dict[str, Any]]()
        self.served, self.n_logprobs, self.headers = ["fake"], 5, list[dict[str, str]]()
        self.n_tokens_per_code = 1
        self.adapters: dict[str, str] | None = {}
        self.unloaded: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[Handler]:
        server = self

        class OfThisServer(Handler):
            fake = server

        return OfThisServer

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer as a server does that knows no token ids."""
        choices = [self._choice(index, prompt, body) for index, prompt in enumerate(body["prompt"])]
        n_tokens = self.n_tokens_per_code * len(choices)
        usage = {"prompt_tokens": n_tokens, "completion_tokens": len(choices), "total_tokens": n_tokens}
        return {"id": "1", "object": "text_completion", "choices": choices[::-1], "usage": usage}

    def _choice(self, index: int, prompt: str, body: dict[str, Any]) -> dict[str, Any]:
        words = prompt.split()
        c1, c2 = (words[words.index(cue) + 1] if cue in words else "" for cue in ("watched", "then"))
        likely = [code for code in self.codes if code not in (c1, c2)]
        shift = sum(map(ord, prompt)) % max(1, len(likely))  # an answer that follows from the prompt
        likely = [*likely[shift:], *likely[:shift]]
        logprobs = {f" {code}": -1.0 - rank for rank, code in enumerate(likely[: body.get("logprobs") or 1])}
        best = next(iter(logprobs), "")
        said = {"tokens": [best], "token_logprobs": [-1.0], "top_logprobs": [logprobs], "text_offset": [0]}
        return {"index": index, "text": best, "logprobs": said, "finish_reason": "length"}


class Handler(BaseHTTPRequestHandler):
    """Speaks for a `FakeServer`."""

    fake: FakeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        data = [{"id": name, "object": "model"} for name in self.fake.served]
        data += [{"id": name, "object": "model", "parent": "fake"} for name in self.fake.adapters or ()]
        self.send(200, {"object": "list", "data": data})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("_lora_adapter"):
            self._adapt(body)
            return
        self.fake.bodies.append(body)
        self.fake.headers.append(dict(self.headers))
        if self.fake.replies:
            self.fake.replies.pop(0)(self, body)
        elif not all(isinstance(prompt, str) for prompt in body["prompt"]):
            self.send(400, {"error": {"message": "a prompt is a text"}})
        elif (body.get("logprobs") or 0) > self.fake.n_logprobs:
            self.send(400, {"error": {"message": f"logprobs must be at most {self.fake.n_logprobs}"}})
        else:
            self.send(200, self.fake.complete(body))

    def _adapt(self, body: dict[str, str]) -> None:
        name, adapters = body["lora_name"], self.fake.adapters
        if adapters is None:
            self.send(404, {"detail": "Not Found"})
        elif self.fake.replies:
            self.fake.replies.pop(0)(self, body)
        elif self.path.endswith("/load_lora_adapter") and name in adapters:
            self.send(400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}})
        elif self.path.endswith("/load_lora_adapter"):
            adapters[name] = body["lora_path"]
            self.send_bytes(200, b"Success")
        else:
            del adapters[name]
            self.fake.unloaded.append(name)
            self.send_bytes(200, b"Success")

    def send(self, status: int, record: object, **headers: str) -> None:
        self.send_bytes(status, json.dumps(record).encode(), **headers)

    def send_bytes(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def failing(status: int, **headers: str) -> Reply:
    """Answer with an error."""
    return lambda handler, _: handler.send(status, {"error": {"message": "not now"}}, **headers)


def saying(content: bytes) -> Reply:
    """Answer with success, and these bytes."""
    return lambda handler, _: handler.send_bytes(200, content)


def breaking_off(handler: Handler, body: dict[str, Any]) -> None:
    """Promise an answer, send the half of it and hang up."""
    content = json.dumps(handler.fake.complete(body)).encode()
    handler.send_bytes(200, content[: len(content) // 2], Content_Length=str(len(content)))
    handler.close_connection = True


def too_slow(seconds: float) -> Reply:
    """Answer after a while."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        handler.send(200, handler.fake.complete(body))

    return reply


def dripping(handler: Handler, body: dict[str, Any]) -> None:
    """Send an answer byte by byte, for longer than anybody should wait."""
    content = json.dumps(handler.fake.complete(body)).encode()
    handler.send_bytes(200, content[:1], Content_Length=str(len(content)))
    with suppress(OSError):
        for byte in content[1:]:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.02)
    handler.close_connection = True
