"""Alertmanager's webhook: who is let in, what is kept, and that nothing is answered before it is."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from monitoring.alert_metrics import AlertMetrics
from monitoring.webhook.app import AlertHandler, AlertLimits, build_alert_app
from monitoring.webhook.payload import MalformedError, read_delivery
from monitoring.webhook.records import MAX_BODY_BYTES, AlertsTaken
from tidegate.contracts import AlertEpisode
from tidegate.errors import StoreUnavailableError
from tidegate.tokens import tokens_of

OLD, NEW = "token-of-last-month", "token-of-this-month"
STARTS = "2026-01-01T00:00:00Z"


@dataclass
class Memory:
    """Keeps episodes as the store does, without cooldown."""

    kept: dict[str, AlertEpisode] = field(default_factory=dict)
    is_away: bool = False

    def keep(self, episodes: Sequence[AlertEpisode]) -> list[str]:
        if self.is_away:
            raise StoreUnavailableError("the database refused: it is down", "Start it")
        outcomes = []
        for episode in episodes:
            outcomes.append("repeated" if episode.episode_id in self.kept else "open")
            self.kept.setdefault(episode.episode_id, episode)
        return outcomes


@dataclass
class Service:
    """The app, asked without a socket."""

    memory: Memory = field(default_factory=Memory)
    has_tokens: bool = True
    limits: AlertLimits | None = None

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        tokens = tokens_of(f"{OLD} {NEW}", place="test") if self.has_tokens else None
        self.app: ASGIApp = build_alert_app(
            AlertHandler(self.memory.keep, AlertMetrics(self.registry), tokens, self.limits)
        )

    def ask(self, *requests: httpx.Request) -> list[httpx.Response]:
        async def ask_all() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return [await client.send(request) for request in requests]

        return asyncio.run(ask_all())

    def post(self, body: Any, token: str | None = NEW) -> httpx.Response:
        return self.ask(delivery_of(body, token))[0]

    def counted(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("tidegate_alert_deliveries_total", {"outcome": outcome})


def delivery_of(body: Any, token: str | None = NEW) -> httpx.Request:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({} if token is None else {"authorization": f"Bearer {token}"})
    return httpx.Request("POST", "http://x/alerts", content=content, headers=headers)


def alert(name: str = "drift", starts: str = STARTS, status: str = "firing", **more: Any) -> dict[str, Any]:
    return {"status": status, "labels": {"alertname": name}, "startsAt": starts, "fingerprint": f"f-{name}", **more}


def body_of(*alerts: dict[str, Any], group: str = "g", **more: Any) -> dict[str, Any]:
    return {"version": "4", "groupKey": group, "alerts": list(alerts), **more}


def test_a_delivery_is_kept_and_then_answered_202() -> None:
    service = Service()
    answer = service.post(body_of(alert("a"), alert("b"), alert("c", status="resolved")))
    assert answer.status_code == 202
    assert msgspec.json.decode(answer.content, type=AlertsTaken) == AlertsTaken(open=2, resolved=1)
    assert [episode.alert for episode in service.memory.kept.values()] == ["a", "b"]
    assert service.post(body_of(alert("a"))).json()["repeated"] == 1
    assert service.counted("taken") == 2
    episodes = {o: service.registry.get_sample_value("tidegate_alert_episodes_total", {"outcome": o}) for o in
                ("open", "repeated", "resolved", "suppressed")}  # fmt: skip
    assert episodes == {"open": 2, "repeated": 1, "resolved": 1, "suppressed": 0}


def test_fields_that_newer_versions_add_are_ignored_and_missing_labels_are_no_fault() -> None:
    sent = alert("a", endsAt="0001-01-01T00:00:00Z", generatorURL="http://evil/", annotations={"x": "y"})
    body = body_of(sent, receiver="r", status="firing", notification_reason="new", externalURL="http://evil/")
    assert Service().post(body).status_code == 202
    del sent["labels"]
    (episode,) = read_delivery(json.dumps(body).encode()).episodes
    assert (episode.alert, episode.labels) == ("unnamed", {})


def test_truncated_alerts_are_counted_and_the_rest_is_taken() -> None:
    service = Service()
    answer = service.post(body_of(alert("a"), truncatedAlerts=7))
    assert (answer.status_code, answer.json()["open"], answer.json()["truncated"]) == (202, 1, 7)
    assert service.registry.get_sample_value("tidegate_alert_truncated_total") == 7


@pytest.mark.parametrize("token", [None, "", "wrong-token-of-nobody", OLD[:-1], f"{NEW} {NEW}"])
def test_nobody_is_let_in_without_a_live_token(token: str | None) -> None:
    service = Service()
    answer = service.post(body_of(alert()), token)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="tidegate alerts"')
    assert set(answer.json()) == {"error", "mend"}
    assert (service.memory.kept, service.counted("unauthorised")) == ({}, 1)


def test_both_live_tokens_are_let_in_and_where_there_is_none_everybody() -> None:
    assert [Service().post(body_of(alert()), token).status_code for token in (OLD, NEW)] == [202, 202]
    assert Service(has_tokens=False).post(body_of(alert()), None).status_code == 202


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "no delivery"),
        (b"\xff\xfe", "no delivery"),
        (b"[" * 100_000, "no delivery"),
        (b"{}", "groupKey"),
        (body_of(alert()) | {"version": "3"}, "'3'"),
        (body_of(alert(starts="yesterday")), "startsAt"),
        (body_of(alert(starts="2026-01-01T00:00:00")), "startsAt"),
        (body_of(alert(status="on fire")), "'on fire'"),
        (body_of(alert() | {"fingerprint": ""}), "fingerprint"),
        (body_of(group=""), "groupKey"),
        (body_of(truncatedAlerts=-1), "truncatedAlerts"),
        ({"version": "4", "groupKey": "g", "alerts": {"a": 1}}, "alerts"),
    ],
)
def test_what_is_no_delivery_is_refused_for_good(body: Any, found: str) -> None:
    service = Service()
    answer = service.post(body)
    assert answer.status_code == 400
    assert found in answer.json()["error"]
    assert (service.memory.kept, service.counted("malformed")) == ({}, 1)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_what_a_page_in_a_browser_may_send_to_loopback_is_refused(kind: str) -> None:
    service = Service(has_tokens=False)
    request = delivery_of(body_of(alert()), None)
    request.headers["content-type"] = kind
    (answer,) = service.ask(request)
    assert (answer.status_code, service.memory.kept) == (415, {})
    request = delivery_of(body_of(alert()), None)
    request.headers["content-type"] = "Application/JSON; charset=utf-8"
    assert service.ask(request)[0].status_code == 202


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() -> None:
    service = Service()
    large = b" " * (MAX_BODY_BYTES + 1)

    async def in_pieces() -> Any:
        for begin in range(0, len(large), 65_536):
            yield large[begin : begin + 65_536]

    headers = {"authorization": f"Bearer {NEW}", "content-type": "application/json"}
    silent = httpx.Request("POST", "http://x/alerts", content=in_pieces(), headers=headers)
    answers = service.ask(delivery_of(large), silent)
    assert [answer.status_code for answer in answers] == [413, 413]
    assert {answer.headers["connection"] for answer in answers} == {"close"}
    just_fits = json.dumps(body_of(alert())).encode()
    assert service.post(just_fits + b" " * (MAX_BODY_BYTES - len(just_fits))).status_code == 202


def test_a_slow_body_is_let_go_with_a_5xx_so_that_it_is_sent_again() -> None:
    service = Service(limits=AlertLimits(body_seconds=0.05))

    async def never_ends() -> Any:
        yield b"{"
        await asyncio.sleep(5)

    headers = {"authorization": f"Bearer {NEW}", "content-type": "application/json"}
    (answer,) = service.ask(httpx.Request("POST", "http://x/alerts", content=never_ends(), headers=headers))
    assert (answer.status_code, service.counted("too_slow")) == (503, 1)


def test_where_the_store_is_away_the_answer_is_503_and_the_next_delivery_is_kept() -> None:
    service = Service(Memory(is_away=True))
    answer = service.post(body_of(alert()))
    assert (answer.status_code, answer.json()["error"]) == (503, "the database refused: it is down")
    assert service.counted("unavailable") == 1
    assert service.post(body_of(alert(status="resolved"))).status_code == 202  # there is nothing to keep
    service.memory.is_away = False
    assert service.post(body_of(alert())).json()["open"] == 1


def test_a_store_that_hangs_is_not_waited_for_nor_piled_up_before() -> None:
    release = threading.Event()

    def hang(_: Sequence[AlertEpisode]) -> list[str]:
        release.wait(20)
        return ["open"]

    service = Service(limits=AlertLimits(keep_seconds=0.05, at_once=2))
    handler = AlertHandler(hang, AlertMetrics(CollectorRegistry()), None, service.limits)
    service.app = build_alert_app(handler)

    async def ask() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://x") as client:
            found = [(await client.send(delivery_of(body_of(alert())))) for _ in range(3)]
            release.set()
            await asyncio.sleep(0.3)
            return [answer.status_code for answer in [*found, await client.send(delivery_of(body_of(alert())))]]

    assert asyncio.run(ask()) == [503, 503, 503, 202]


def test_other_paths_and_methods_are_refused_in_json_and_faults_are_5xx() -> None:
    service = Service()
    wrong = [httpx.Request(*each) for each in (("GET", "http://x/alerts"), ("POST", "http://x/alerts/"))]
    answers = service.ask(*wrong, httpx.Request("GET", "http://x/openapi.json"))
    assert [answer.status_code for answer in answers] == [405, 404, 200]
    assert "POST" in answers[0].headers["allow"]
    assert answers[2].json()["paths"].keys() == {"/alerts"}

    def broken(_: Sequence[AlertEpisode]) -> list[str]:
        raise ValueError("a fault")

    app = build_alert_app(AlertHandler(broken, AlertMetrics(CollectorRegistry())))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.send(delivery_of(body_of(alert())))

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["error"]) == (500, "ValueError: this is a fault of Tidegate")


def test_a_time_is_one_beginning_however_it_is_written() -> None:
    times = ("2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123000000Z", "2026-01-01T02:00:00.123+02:00")
    bodies = [json.dumps(body_of(alert(starts=each))).encode() for each in times]
    episodes = {read_delivery(body).episodes[0].episode_id for body in bodies}
    assert len(episodes) == 1
    (at_the_end,) = read_delivery(json.dumps(body_of(alert(starts="0001-01-01T00:00:00+12:00"))).encode()).episodes
    assert at_the_end.starts_at == "0001-01-01T00:00:00.000000+12:00"


def test_long_labels_are_cut_and_many_are_left_out() -> None:
    labels = {f"l{n:02}": "x" * 1_000 for n in range(50)} | {"alertname": "n" * 1_000}
    (episode,) = read_delivery(json.dumps(body_of(alert() | {"labels": labels})).encode()).episodes
    assert len(episode.labels) == 32
    assert max(map(len, episode.labels.values())) == len(episode.alert) == 200


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["version", "groupKey", "alerts", "status", "startsAt", "fingerprint", "labels", "x"]),
        inner, max_size=5),
    max_leaves=8).map(lambda each: json.dumps(each).encode())))  # fmt: skip
def test_no_body_is_read_into_anything_but_a_delivery_or_a_refusal(body: bytes) -> None:
    try:
        found = read_delivery(body)
    except MalformedError as error:
        assert str(error)
    else:
        assert all(episode.starts_at for episode in found.episodes)


def test_the_gauge_has_no_sample_while_the_store_is_away() -> None:
    registry, age = CollectorRegistry(), [3.0]

    def waiting() -> float | None:
        if not age:
            raise StoreUnavailableError("away", "Wait")
        return age[0] or None

    AlertMetrics(registry, waiting)
    assert registry.get_sample_value("tidegate_alert_oldest_open_seconds") == 3.0
    age[0] = 0.0
    assert registry.get_sample_value("tidegate_alert_oldest_open_seconds") == 0.0
    age.clear()
    assert registry.get_sample_value("tidegate_alert_oldest_open_seconds") is None
