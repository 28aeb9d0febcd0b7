"""What the console refuses, and what every answer of it carries."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.console.guard import HEADERS, MAX_FORM_BYTES, Guard
from monitoring.console.sessions import COOKIE
from monitoring.console.visits import own_path
from tests.monitoring.console_world import FIRST_PANE, MARKUP, TOKEN, FakeSource, Visitor, held, world
from tidegate.contracts import FineTuneStatus
from tidegate.errors import RequestError, TableError

PAGES = ("/", "/drift", "/decisions", f"/decisions/one?pane={FIRST_PANE + 9}", "/tables", "/tables/diff?old=1&new=2",
         "/orders", "/fine-tunes", "/bill", "/roles", "/login", "/nowhere")  # fmt: skip
DEEDS = {
    "/tables/rollback": {"to": "1", "serving": "2", "why": "hits fell"},
    "/orders/override": {"order": f"run1-{FIRST_PANE + 9}", "why": "checked by hand"},
    "/fine-tunes/decide": {"id": "ft-1", "verdict": "approve", "revision": "5", "why": "looks good"},
}


def full() -> FakeSource:
    from tests.monitoring.console_world import fine_tune

    source = world()
    source.kept, source.tunes = [held()], [fine_tune()]
    return source


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_forbids_scripts_frames_and_caching(path: str) -> None:
    answer = Visitor(full()).get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
def test_pages_hold_no_script_style_or_markup_that_came_with_a_name(path: str) -> None:
    visitor = Visitor(full())
    visitor.log_in(who=MARKUP)
    text = visitor.get(path).text
    assert "<img" not in text
    assert re.findall(r"<script[^>]*>", text) == ['<script src="/static/console.js" defer>']
    assert not re.search(r"\son[a-z]+=|\sstyle=|<style|javascript:", re.sub(r">[^<]*<", "><", text))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_deed_needs_a_session() -> None:
    visitor = Visitor(full())
    for path, form in DEEDS.items():
        asked = visitor.get(f"{path}?to=1&order=x&id=ft-1&verdict=approve")
        assert asked.status_code == 303
        assert asked.headers["location"].startswith("/login?next=/")
        assert visitor.post(path, form).status_code == 403
    assert visitor.actions.done == []


@pytest.mark.parametrize("csrf", [None, "", "x" * 43])
def test_a_deed_needs_the_secret_of_its_own_session(csrf: str | None) -> None:
    visitor = Visitor(full())
    visitor.log_in()
    other = Visitor(full()).log_in()
    for path, form in DEEDS.items():
        for secret in (csrf, other):
            answer = visitor.post(path, form if secret is None else {**form, "csrf": secret})
            assert answer.status_code == 403
            assert "not of this session" in answer.text
    assert visitor.actions.done == []


def test_deeds_are_done_under_the_name_that_logged_in() -> None:
    visitor = Visitor(full())
    csrf = visitor.log_in(who="Ana")
    for path, form in DEEDS.items():
        answer = visitor.post(path, {**form, "csrf": csrf})
        assert answer.status_code == 303, answer.text
    assert visitor.actions.done == [
        ("roll back", 1, 2, "hits fell", "Ana"),
        ("override", f"run1-{FIRST_PANE + 9}", "checked by hand", "Ana"),
        ("approve", "ft-1", 5, "looks good", "Ana"),
    ]
    assert "Done: approve ft-1." in visitor.get("/fine-tunes").text
    assert "Done: approve ft-1." not in visitor.get("/fine-tunes").text


@pytest.mark.parametrize("why", ["", "   ", "x" * 501])
def test_a_deed_needs_a_reason(why: str) -> None:
    visitor = Visitor(full())
    csrf = visitor.log_in()
    for path, form in DEEDS.items():
        answer = visitor.post(path, {**form, "csrf": csrf, "why": why})
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
    assert visitor.actions.done == []


@pytest.mark.parametrize(
    ("error", "status"), [(RequestError("no", "Look again"), 422), (TableError("no", "Wait"), 503)]
)
def test_a_deed_that_fails_says_why_and_keeps_the_reason(error: Exception, status: int) -> None:
    visitor = Visitor(full())
    csrf = visitor.log_in()
    visitor.actions.error = error
    answer = visitor.post("/tables/rollback", {**DEEDS["/tables/rollback"], "csrf": csrf})
    assert answer.status_code == status
    assert str(error) in answer.text
    assert ">hits fell</textarea>" in answer.text


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/tables/rollback", {"to": "3"}),
        ("/tables/rollback", {"to": "99"}),
        ("/tables/rollback", {"to": "1; DROP"}),
        ("/orders/override", {"order": MARKUP}),
        ("/fine-tunes/decide", {"id": MARKUP, "verdict": "approve"}),
        ("/fine-tunes/decide", {"id": "ft-1", "verdict": "serve"}),
    ],
)
def test_deeds_on_what_is_not_there_are_refused(path: str, form: dict[str, str]) -> None:
    visitor = Visitor(full())
    csrf = visitor.log_in()
    assert visitor.get(path, params=form).status_code == 404
    assert visitor.post(path, {**form, "csrf": csrf, "why": "x"}).status_code == 404
    assert visitor.actions.done == []


def test_a_verdict_on_a_fine_tune_that_was_answered_says_so() -> None:
    from tests.monitoring.console_world import fine_tune

    source = world()
    source.tunes = [fine_tune(FineTuneStatus.REJECTED)]
    visitor = Visitor(source)
    visitor.log_in()
    for verdict in ("approve", "reject"):
        assert "it is rejected" in visitor.get(f"/fine-tunes/decide?id=ft-1&verdict={verdict}").text


def test_a_fine_tune_that_nobody_trains_can_be_rejected_and_is_not_said_to_wait_for_approval() -> None:
    from tests.monitoring.console_world import fine_tune

    source = world()
    source.tunes = [fine_tune(FineTuneStatus.FLAGGED)]
    visitor = Visitor(source)
    visitor.log_in()
    assert "does not wait" not in visitor.get("/fine-tunes/decide?id=ft-1&verdict=reject").text
    assert "it is flagged" in visitor.get("/fine-tunes/decide?id=ft-1&verdict=approve").text


def test_the_cookie_is_for_this_site_alone_and_out_of_reach_of_scripts() -> None:
    visitor = Visitor(full(), is_https=True)
    answer = visitor.post("/login", {"who": "Ana", "token": TOKEN, "next": "/tables"})
    assert answer.headers["location"] == "/tables"
    parts = answer.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "secure", "path=/"} <= set(parts)
    assert TOKEN not in answer.headers["set-cookie"]
    assert "secure" not in Visitor(full()).post("/login", {"who": "A", "token": TOKEN}).headers["set-cookie"].lower()


def test_a_wrong_token_opens_nothing_and_guessing_is_slowed_down() -> None:
    visitor = Visitor(full())
    for _ in range(10):
        assert visitor.post("/login", {"who": "Eve", "token": "wrong-wrong-wrong-wrong"}).status_code == 403
    assert visitor.post("/login", {"who": "Eve", "token": TOKEN}).status_code == 429
    visitor.clock.advance_ms(61_000)
    assert visitor.post("/login", {"who": "Eve", "token": TOKEN}).status_code == 303


def test_a_login_needs_a_name_and_never_leads_elsewhere() -> None:
    visitor = Visitor(full())
    assert visitor.post("/login", {"who": " ", "token": TOKEN}).status_code == 422
    for path in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "evil",
        "/a\nb",
        "http://[",
        "/%0d%0aX: y",
    ):
        answer = visitor.post("/login", {"who": "Ana", "token": TOKEN, "next": path})
        assert answer.headers["location"] in ("/", "/%0d%0aX:%20y")
    assert own_path("/tables/rollback?to=1") == "/tables/rollback?to=1"


def test_without_tokens_nobody_logs_in_and_no_deed_is_offered() -> None:
    visitor = Visitor(full(), token=None)
    assert "no token is set" in visitor.get("/login").text
    assert visitor.post("/login", {"who": "Ana", "token": TOKEN}).status_code == 403
    assert "/tables/rollback" not in visitor.get("/tables").text
    assert "Read only" in visitor.get("/").text


def test_sessions_end_when_idle_when_old_and_when_logged_out() -> None:
    visitor = Visitor(full())
    visitor.log_in()
    visitor.clock.advance_ms(3_500_000)
    visitor.get("/", headers={"tidegate-live": "1"})  # a page that looks by itself is nobody at the keyboard
    visitor.clock.advance_ms(200_000)
    assert "Log out" not in visitor.get("/").text
    visitor.log_in()
    for _ in range(13):
        visitor.clock.advance_ms(3_500_000)
        visitor.get("/")
    assert "Log out" not in visitor.get("/").text
    csrf = visitor.log_in()
    session_id = visitor.cookies[COOKIE]
    assert visitor.post("/logout", {"csrf": "wrong"}).status_code == 303
    assert visitor.sessions.find(session_id) is not None
    visitor.post("/logout", {"csrf": csrf})
    assert visitor.sessions.find(session_id) is None


def test_sessions_and_wrong_tokens_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.console.sessions._MAX_SESSIONS", 3)
    monkeypatch.setattr("monitoring.console.sessions._MAX_CALLERS", 3)
    sessions = Visitor(full()).sessions
    opened = [sessions.open(TOKEN, "Ana", "10.0.0.1") for _ in range(5)]
    assert [sessions.find(each) is not None for each in opened] == [False, False, True, True, True]
    for i in range(5):
        sessions.open("wrong-wrong-wrong-wrong", "Eve", f"10.0.0.{i}")
    assert len(sessions._wrong) == 3


def test_beyond_loopback_reading_needs_a_login_too() -> None:
    visitor = Visitor(full(), host="0.0.0.0", needs_login=True)
    for path in PAGES[:-2]:
        answer = visitor.get(path, headers={"host": "tidegate.example"})
        assert answer.status_code == 303, path
    assert "watches" not in visitor.get("/login").text
    assert "watches" not in visitor.get("/nowhere").text
    visitor.log_in()
    assert visitor.get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9465", "127.0.0.1.evil.example", "", "[::2]:80"])
def test_on_loopback_another_name_that_leads_here_is_refused(host: str) -> None:
    assert Visitor(full()).get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9465", "[::1]:9465", "127.0.0.2:1"])
def test_on_loopback_names_of_loopback_are_answered(host: str) -> None:
    assert Visitor(full()).get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "application/json"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"origin": "http://127.0.0.1:9465", "sec-fetch-site": "same-origin"}, 303),
    ],
)
def test_forms_of_other_sites_and_other_kinds_are_refused(headers: dict[str, str], status: int) -> None:
    visitor = Visitor(full())
    kind = {"content-type": "application/x-www-form-urlencoded", **headers}
    body = f"who=Ana&token={TOKEN}"
    assert visitor.post("/login", content=body, headers=kind).status_code == status


def test_forms_are_bounded_in_size_fields_and_letters() -> None:
    visitor = Visitor(full())
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert visitor.post("/login", content=b"a" * (MAX_FORM_BYTES + 1), headers=kind).status_code == 413
    assert visitor.post("/login", content=b"&".join(b"a=1" for _ in range(30)), headers=kind).status_code == 400
    assert visitor.post("/login", content=b"\xff\xfe", headers=kind).status_code == 400
    assert visitor.post("/login", content=b"%ff=%00&who=%ff&token=%ff", headers=kind).status_code == 403


def run_guard(messages: list[dict[str, Any]], **limits: Any) -> int:
    """Status of a form that arrives as told; what is not told never comes."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(60)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.sleep(60)
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    kind = [(b"host", b"127.0.0.1"), (b"content-type", b"application/x-www-form-urlencoded")]
    path = limits.pop("path", "/")
    scope = {"type": "http", "method": limits.pop("method", "POST"), "path": path, "headers": kind, "query_string": b""}
    asyncio.run(Guard(app, "127.0.0.1", **limits)(scope, receive, send))  # type: ignore[arg-type]
    return int(sent[0]["status"])


def test_forms_that_drip_in_or_break_off_are_given_up() -> None:
    part = {"type": "http.request", "body": b"a=1", "more_body": True}
    assert run_guard([part], form_seconds=0.01) == 408
    assert run_guard([part, {"type": "http.disconnect"}]) == 400
    assert run_guard([{**part, "body": b"a" * 9_000}, {**part, "body": b"a" * 9_000}]) == 413
    assert run_guard([part, {**part, "more_body": False}]) == 200


def test_a_page_that_takes_too_long_is_given_up() -> None:
    assert run_guard([], path="/slow", method="GET", answer_seconds=0.01) == 503


def test_the_token_is_in_no_page_and_no_address() -> None:
    visitor = Visitor(full())
    visitor.log_in()
    for path in PAGES:
        answer = visitor.get(path)
        assert TOKEN not in answer.text
        assert TOKEN not in str(answer.headers)
    assert 'method="post" action="/login"' in Visitor(full()).get("/login").text


@settings(max_examples=80, deadline=None)
@given(
    path=st.sampled_from([*PAGES, *DEEDS, "/logout", "/static/console.js", "/static/../app.py", "/healthz"]),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
    fields=st.dictionaries(
        st.sampled_from(
            ["to", "old", "new", "pane", "panes", "show", "before", "id", "verdict", "order", "next", "why", "csrf"]
        ),
        st.text(max_size=40) | st.integers().map(str),
    ),
    is_logged_in=st.booleans(),
)
def test_whatever_is_asked_is_answered_and_is_no_fault_of_ours(
    path: str, method: str, fields: dict[str, str], is_logged_in: bool
) -> None:
    visitor = Visitor(full())
    if is_logged_in:
        fields = {**fields, "csrf": visitor.log_in()}
    path = path.partition("?")[0]
    answer = asyncio.run(
        visitor.ask(method, path, data=fields) if method == "POST" else visitor.ask(method, path, params=fields)
    )
    assert answer.status_code < 500
    assert "<img" not in answer.text or path.startswith("/static")
    assert answer.headers["content-security-policy"]
