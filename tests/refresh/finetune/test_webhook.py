"""Persons are told once, signed, and again until the message is taken."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from refresh.finetune.webhook import Notice, Webhook, read_secret
from tests.fine_tunes import LOST, PASSED, in_status
from tidegate.clock import ManualClock
from tidegate.contracts import FineTuneStatus
from tidegate.errors import ConfigError, FineTuneError

SECRET = b"a secret of more than 16 bytes"
HALTED = in_status(FineTuneStatus.HALTED)


def hook(
    answer: Callable[[httpx.Request], httpx.Response], clock: ManualClock | None = None, secret: bytes | None = SECRET
) -> Webhook:
    transport = httpx.MockTransport(answer)
    clock = clock or ManualClock(1_704_067_200_000)
    return Webhook("http://hooks.example/key-of-mine", secret, clock=clock, transport=transport, n_tries=3)


def test_the_message_says_where_it_is_and_why_and_is_signed() -> None:
    seen: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    hook(take)(HALTED)
    (request,) = seen
    notice = msgspec.json.decode(request.content, type=Notice)
    assert (notice.event, notice.fine_tune_id, notice.status) == ("fine_tune.halted", "run-1", FineTuneStatus.HALTED)
    assert (notice.why, notice.gates, notice.flag) == (LOST.sentence, (PASSED, LOST), HALTED.flag)
    assert request.headers["tidegate-event"] == "fine_tune.halted"
    assert request.headers["tidegate-delivery"] == "run-1:5"
    time, _, signed = request.headers["tidegate-signature"].partition(",v1=")
    assert time == "t=1704067200"
    assert signed == hmac.new(SECRET, b"1704067200." + request.content, hashlib.sha256).hexdigest()


def test_without_a_secret_nothing_is_signed() -> None:
    seen: list[httpx.Headers] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200)

    hook(take, secret=None)(HALTED)
    assert "tidegate-signature" not in seen[0]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_was_not_taken_is_sent_again_with_the_same_name_and_a_fresh_signature(status: int) -> None:
    clock, seen = ManualClock(5_000), list[httpx.Headers]()

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(status if len(seen) < 3 else 200)

    hook(take, clock)(HALTED)
    assert len({each["tidegate-delivery"] for each in seen}) == 1
    assert len(seen) == 3
    assert clock.now_ms() > 5_000  # it has waited in between


def test_a_receiver_that_never_takes_it_is_given_up_and_only_its_host_is_named() -> None:
    seen = []

    def fail(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        raise httpx.ConnectTimeout("too slow", request=request)

    with pytest.raises(FineTuneError, match=r"no answer \(ConnectTimeout\), in 3 tries") as raised:
        hook(fail)(HALTED)
    assert len(seen) == 3
    assert raised.value.place == "hooks.example"
    assert "key-of-mine" not in str(raised.value)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410])
def test_a_refusal_is_not_repeated_and_no_redirect_followed(status: int) -> None:
    seen = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, headers={"location": "http://elsewhere.example/"})

    with pytest.raises(FineTuneError, match=f"the answer was {status}"):
        hook(refuse)(HALTED)
    assert len(seen) == 1


@pytest.mark.parametrize("url", ["hooks.example", "ftp://hooks.example/", "http://", "file:///etc/passwd"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="the webhook's address is no URL"):
        Webhook(url)


def test_the_secret_is_what_its_file_holds_and_shows_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    secret = read_secret(tmp_path / "secret")
    assert secret == SECRET
    assert SECRET.decode() not in repr(Webhook("http://h/", secret))


def test_a_secret_that_is_missing_or_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the secret cannot be read"):
        read_secret(tmp_path / "none")
    (tmp_path / "short").write_text("hunter2\n")
    with pytest.raises(ConfigError, match="the secret has 7 bytes where 16 are the least"):
        read_secret(tmp_path / "short")
