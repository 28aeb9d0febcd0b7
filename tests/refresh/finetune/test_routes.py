"""Fine-tunes over HTTP: who may look and who may decide, and what each refusal says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import openapi_spec_validator
import pytest
from starlette.testclient import TestClient

from refresh.finetune.desk import DECISIONS, Desk
from refresh.finetune.messages import PREFIX
from refresh.finetune.openapi import openapi_document
from refresh.finetune.routes import MAX_BODY_BYTES, Access, build_app
from tests.fine_tunes import MemoryBook, in_status
from tidegate.clock import ManualClock
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus
from tidegate.errors import EngineError, StoreError, StoreUnavailableError, TidegateError
from tidegate.tokens import tokens_of

S = FineTuneStatus
DECIDE, READ = "decide-decide-decide", "read-read-read-read"
ACCESS = Access(tokens_of(DECIDE, place="test"), tokens_of(READ, place="test"))
BODY = {"by": "ann", "reason": "looks good"}


def client(
    *records: FineTune, access: Access = ACCESS, token: str | None = DECIDE, start: Callable[[str], None] | None = None
) -> TestClient:
    desk = Desk(MemoryBook(*records), ManualClock(7))
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return TestClient(build_app(desk, access, start=start), headers=headers, raise_server_exceptions=False)


def refused(response: Any) -> tuple[int, str]:
    body = response.json()
    assert body["mend"]
    assert response.headers["cache-control"] == "no-store"
    return response.status_code, body["error"]


def test_all_are_listed_and_one_is_shown_with_its_steps() -> None:
    with client(in_status(S.HALTED, 1), in_status(S.FLAGGED, 2)) as web:
        listed = web.get(PREFIX).json()["fine_tunes"]
        assert [(each["fine_tune_id"], each["status"]) for each in listed] == [
            ("run-2", "flagged"),
            ("run-1", "halted"),
        ]
        assert [each["fine_tune_id"] for each in web.get(f"{PREFIX}?status=halted").json()["fine_tunes"]] == ["run-1"]
        assert web.get(f"{PREFIX}?run=another").json() == {"fine_tunes": []}
        shown = web.get(f"{PREFIX}/run-1")
    assert msgspec.json.decode(shown.content, type=FineTune) == in_status(S.HALTED, 1)
    assert shown.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("action", "status", "becomes"),
    [
        (FineTuneAction.APPROVE, S.PENDING_REVIEW, "approved"),
        (FineTuneAction.REJECT, S.PENDING_REVIEW, "rejected"),
        (FineTuneAction.PROCEED, S.HALTED, "pending_review"),
        (FineTuneAction.RERUN, S.FAILED, "training"),
        (FineTuneAction.RETIRE, S.APPROVED, "retired"),
    ],
)
def test_a_decision_is_recorded_with_its_person_and_repeating_it_changes_nothing(
    action: FineTuneAction, status: FineTuneStatus, becomes: str
) -> None:
    with client(in_status(status)) as web:
        first = web.post(f"{PREFIX}/run-1/{action}", json=BODY)
        again = web.post(f"{PREFIX}/run-1/{action}", json={"by": "bob", "reason": "me too"})
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    step = first.json()["steps"][-1]
    assert (first.json()["status"], step["by"], step["is_person"], step["why"], step["at_ms"]) == (
        *(becomes, "ann", True, "looks good", 7),
    )


ALL_PATHS = [("GET", ""), ("GET", "/run-1"), ("POST", "/run-1/run")] + [
    ("POST", f"/run-1/{each}") for each in DECISIONS
]


@pytest.mark.parametrize(("method", "path"), ALL_PATHS)
@pytest.mark.parametrize("token", [None, "wrong-wrong-wrong-wrong"])
def test_without_a_live_token_nothing_is_shown_and_nothing_decided(method: str, path: str, token: str | None) -> None:
    with client(in_status(S.PENDING_REVIEW), token=token) as web:
        response = web.request(method, PREFIX + path, json=BODY if method == "POST" else None)
        assert refused(response) == (401, "there is no live bearer token")
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert (
            web.get(f"{PREFIX}/run-1", headers={"authorization": f"Bearer {DECIDE}"}).json()["status"]
            == "pending_review"
        )


@pytest.mark.parametrize(("method", "path"), ALL_PATHS)
def test_a_token_that_may_only_look_does_not_decide(method: str, path: str) -> None:
    with client(in_status(S.PENDING_REVIEW), token=READ) as web:
        response = web.request(method, PREFIX + path, json=BODY if method == "POST" else None)
    if method == "GET":
        assert response.status_code == 200
    else:
        assert refused(response) == (403, "this token may only look")


@pytest.mark.parametrize(("method", "path"), ALL_PATHS)
def test_where_no_token_is_set_up_nobody_gets_in(method: str, path: str) -> None:
    with client(in_status(S.PENDING_REVIEW), access=Access(None)) as web:
        response = web.request(method, PREFIX + path, json=BODY if method == "POST" else None)
    assert refused(response) == (403, "no token is set up for that")


def test_where_persons_may_only_look_deciding_is_refused_whatever_the_token() -> None:
    with client(in_status(S.PENDING_REVIEW), access=Access(None, ACCESS.read)) as web:
        assert refused(web.get(PREFIX)) == (401, "there is no live bearer token")
        assert refused(web.post(f"{PREFIX}/run-1/approve", json=BODY)) == (403, "no token is set up for that")


def test_an_unknown_fine_tune_and_an_unknown_path_are_not_found() -> None:
    with client(in_status(S.FLAGGED)) as web:
        assert refused(web.get(f"{PREFIX}/run-9")) == (404, "there is no fine-tune 'run-9'")
        assert refused(web.post(f"{PREFIX}/run-9/reject", json=BODY)) == (404, "there is no fine-tune 'run-9'")
        assert web.post(f"{PREFIX}/run-1/deploy", json=BODY).status_code == 404
        assert web.get(f"{PREFIX}/run-1/approve").status_code == 405
        assert web.get(f"{PREFIX}/", follow_redirects=False).status_code == 404


def test_a_step_that_does_not_begin_there_or_on_another_revision_conflicts() -> None:
    with client(in_status(S.FLAGGED)) as web:
        assert refused(web.post(f"{PREFIX}/run-1/approve", json=BODY)) == (409, "it is flagged")
        code, error = refused(web.post(f"{PREFIX}/run-1/reject", json=BODY | {"revision": 3}))
        assert (code, error) == (409, "it is at revision 1 (flagged), and 3 was looked at")


@pytest.mark.parametrize(
    "body",
    [
        {"by": "ann"},
        {"reason": "because"},
        {"by": "", "reason": "because"},
        {"by": "ann", "reason": " \n"},
        {"by": "ann", "reason": 3},
        {"by": "ann", "reason": "x" * 4_001},
        {"by": "ann", "reason": "because", "revision": 0},
        {"by": "ann", "reason": "because", "is_person": False},
        ["ann", "because"],
    ],
)
def test_a_body_of_another_shape_is_refused(body: object) -> None:
    with client(in_status(S.PENDING_REVIEW)) as web:
        assert web.post(f"{PREFIX}/run-1/approve", json=body).status_code == 422
        assert web.get(f"{PREFIX}/run-1").json()["status"] == "pending_review"


@pytest.mark.parametrize("body", [b"", b"{", b'{"by": "\xff", "reason": "x"}', b"by=ann"])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with client(in_status(S.PENDING_REVIEW)) as web:
        assert web.post(f"{PREFIX}/run-1/approve", content=body).status_code in (400, 422)
        assert web.get(f"{PREFIX}/run-1").json()["status"] == "pending_review"


def test_a_body_that_is_too_large_is_not_read_on() -> None:
    with client(in_status(S.PENDING_REVIEW)) as web:
        response = web.post(f"{PREFIX}/run-1/approve", content=b" " * (MAX_BODY_BYTES + 1))
        assert refused(response) == (413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        assert response.headers["connection"] == "close"


def test_a_status_that_is_none_is_refused() -> None:
    with client() as web:
        assert refused(web.get(f"{PREFIX}?status=happy")) == (422, "there is no status 'happy'")


def test_work_is_started_elsewhere_and_not_waited_for() -> None:
    started: list[str] = []
    with client(in_status(S.FLAGGED), start=started.append) as web:
        response = web.post(f"{PREFIX}/run-1/run")
        assert (response.status_code, response.json()["status"], started) == (202, "flagged", ["run-1"])
        assert refused(web.post(f"{PREFIX}/run-9/run"))[0] == 404
    assert started == ["run-1"]
    with client(in_status(S.FLAGGED)) as web:
        assert refused(web.post(f"{PREFIX}/run-1/run")) == (409, "nothing is trained here")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreUnavailableError("it is down", "Wait", place="store"), 503),
        (StoreError("it is damaged", "Restore it", place="store"), 500),
        (EngineError("a file was changed", "Run it again"), 409),
    ],
)
def test_what_keeps_a_decision_from_being_taken_is_said(error: TidegateError, status: int) -> None:
    def refuse(_: FineTune) -> None:
        raise error

    desk = Desk(MemoryBook(in_status(S.PENDING_REVIEW)), ManualClock(), check_candidate=refuse)
    headers = {"authorization": f"Bearer {DECIDE}"}
    with TestClient(build_app(desk, ACCESS), headers=headers) as web:
        assert refused(web.post(f"{PREFIX}/run-1/approve", json=BODY)) == (status, error.found)
        assert web.get(f"{PREFIX}/run-1").json()["status"] == "pending_review"
        assert web.post(f"{PREFIX}/run-1/reject", json=BODY).status_code == 200  # rejecting needs no candidate


def test_the_description_is_valid_and_has_every_path() -> None:
    openapi_spec_validator.validate(openapi_document())
    with client(token=None) as web:
        described = web.get("/openapi.json").json()
    assert described == msgspec.to_builtins(openapi_document())
    assert set(described["paths"]) == {PREFIX + path.replace("run-1", "{fine_tune_id}") for _, path in ALL_PATHS}
