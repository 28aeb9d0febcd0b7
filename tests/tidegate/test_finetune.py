"""Fine-tunes as persons see them: on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

import tidegate.cli.finetuning as module
from refresh.finetune.gates.bounds import CandidateBounds
from refresh.finetune.runner import Curated, Job, Trained
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes, add_flagged
from tests.fine_tunes import LOST, PASSED, in_status
from tidegate.cli import fine_tune_work
from tidegate.cli.errors import run_cleanly
from tidegate.cli.finetune_runs import access_by_tokens, started_runs
from tidegate.cli.finetuning import Messages, open_bench
from tidegate.cli.main import cli
from tidegate.clock import ManualClock
from tidegate.contracts import FineTune, FineTuneStatus, GateVerdict
from tidegate.errors import ConfigError, EngineError, FineTuneError

S = FineTuneStatus
Shell = Callable[..., tuple[int, str, str]]
WHY = ("--reason", "looks good", "--by", "ann")


def put(home: Path, *records: FineTune) -> None:
    """Write records as they are, with all their steps taken."""
    database = Database(home / "runs.db")
    for record in records:
        with database.writing() as connection:
            assert add_flagged(connection, record)
    database.close()


def stored(home: Path, fine_tune_id: str = "run-1") -> FineTune:
    database = Database(home / "runs.db")
    record = StoredFineTunes(database).get(fine_tune_id)
    database.close()
    assert record is not None
    return record


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    def run(*args: str) -> tuple[int, str, str]:
        code = run_cleanly(cli, ["finetune", *args, "--home", str(tmp_path)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


class FakeWork:
    """Work that does nothing, and halts or fails where it is told to."""

    verdicts: tuple[GateVerdict, ...] = (PASSED,)
    error: Exception | None = None

    bounds = CandidateBounds()

    engine: Mapping[str, object] = {}

    def __init__(self, *_: object, bounds: CandidateBounds, engine: Mapping[str, object]) -> None:
        type(self).bounds, type(self).engine = bounds, engine

    def curate(self, job: Job) -> Curated:
        if self.error is not None:
            raise self.error
        return Curated("samples", "base")

    def train(self, job: Job) -> Trained:
        return Trained("candidate")

    def judge(self, job: Job) -> tuple[GateVerdict, ...]:
        return self.verdicts


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> type[FakeWork]:
    class Work(FakeWork):
        pass

    monkeypatch.setattr(fine_tune_work, "FineTuneWork", Work)
    return Work


def test_list_says_what_was_flagged_and_where_it_is(tmp_path: Path, shell: Shell) -> None:
    put(tmp_path, in_status(S.FLAGGED, 1), in_status(S.HALTED, 2), in_status(S.FLAGGED, 3, "other"))
    code, out, _ = shell("list")
    assert code == 0
    for words in ("run-1", "run-2", "other-3", "flagged", "halted", "hit rate below level", LOST.sentence):
        assert words in out
    assert [each["fine_tune_id"] for each in json.loads(shell("list", "--json")[1])] == ["other-3", "run-2", "run-1"]
    assert [each["fine_tune_id"] for each in json.loads(shell("list", "--run", "run", "--json")[1])] == [
        "run-2",
        "run-1",
    ]
    assert [each["status"] for each in json.loads(shell("list", "--status", "halted", "--json")[1])] == ["halted"]


def test_show_has_every_step_and_gate(tmp_path: Path, shell: Shell) -> None:
    put(tmp_path, in_status(S.HALTED))
    code, out, _ = shell("show", "run-1")
    assert code == 0
    for words in ("FAILED", LOST.sentence, "exact match", "1970-01-01T00:00:01Z", "(program)", "a gate was not passed"):
        assert words in out
    assert json.loads(shell("show", "run-1", "--json")[1])["gates"][1]["found"] == 0.4


def test_names_and_reasons_that_a_terminal_could_take_for_commands_are_made_harmless(
    tmp_path: Path, shell: Shell
) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    shell("reject", "run-1", "--by", "ann\x1b[31m", "--reason", "[bold]no\x07[/bold]")
    out = shell("show", "run-1")[1]
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]no" in out


def test_a_decision_is_recorded_with_who_and_why_and_repeated_without_effect(tmp_path: Path, shell: Shell) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    code, out, _ = shell("reject", "run-1", "--reason", "the cluster was renamed", "--by", "ann")
    assert code == 0
    assert "the cluster was renamed" in out
    first = stored(tmp_path)
    assert (first.status, first.steps[-1].by, first.steps[-1].is_person) == (S.REJECTED, "ann", True)
    assert shell("reject", "run-1", "--reason", "again", "--by", "bob", "--json")[0] == 0
    assert stored(tmp_path) == first
    assert json.loads(shell("retire", "run-1", *WHY, "--json")[1])["status"] == "retired"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("approve", "run-1", *WHY), "it is flagged"),
        (("reject", "run-9", *WHY), "there is no fine-tune 'run-9'. Name one of these: run-1"),
        (("reject", "run-1", "--reason", " "), "the reason is empty"),
        (("reject", "run-1"), "--reason"),
        (("reject", "run-1", *WHY, "--revision", "2"), "it is at revision 1 (flagged), and 2 was looked at"),
        (("show", "run-9"), "there is no fine-tune 'run-9'"),
        (("run", "run-9"), "there is no fine-tune 'run-9'"),
        (("list", "--status", "happy"), "happy"),
        (("run", "--webhook-url", "hooks.example"), "the webhook's address is no URL"),
        (("run", "--webhook-secret-file", "none"), "there is a secret and no address"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_with_2(
    tmp_path: Path, shell: Shell, args: tuple[str, ...], message: str
) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    code, _, err = shell(*args)
    assert code == 2
    assert message in err
    assert stored(tmp_path) == in_status(S.FLAGGED)


def test_a_home_without_a_store_is_refused_and_none_is_made(tmp_path: Path, shell: Shell) -> None:
    code, _, err = shell("list")
    assert (code, (tmp_path / "runs.db").exists()) == (2, False)
    assert "there is no store" in err


def test_a_store_elsewhere_is_named_with_store(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "elsewhere").mkdir()
    put(tmp_path / "elsewhere", in_status(S.FLAGGED))
    code, out, _ = shell("list", "--store", str(tmp_path / "elsewhere" / "runs.db"), "--json")
    assert (code, len(json.loads(out))) == (0, 1)


def test_run_goes_to_the_review_of_the_one_that_is_named(tmp_path: Path, shell: Shell, work: type[FakeWork]) -> None:
    put(tmp_path, in_status(S.FLAGGED, 1), in_status(S.FLAGGED, 2))
    code, out, _ = shell("run", "run-1", "--json")
    assert (code, json.loads(out)["status"]) == (0, "pending_review")
    assert stored(tmp_path, "run-2").status is S.FLAGGED


def test_run_without_a_name_takes_all_that_wait_the_oldest_first(
    tmp_path: Path, shell: Shell, work: type[FakeWork]
) -> None:
    put(tmp_path, in_status(S.TRAINING, 3), in_status(S.FLAGGED, 1), in_status(S.REJECTED, 2), in_status(S.SERVING, 4))
    code, out, _ = shell("run", "--json")
    assert code == 0
    assert [(each["fine_tune_id"], each["status"]) for each in json.loads(out)] == [
        ("run-1", "pending_review"),
        ("run-3", "pending_review"),
    ]
    assert json.loads(shell("run", "--json")[1]) == []  # they wait for a person now


@pytest.mark.parametrize("status", ["halted", "failed"])
def test_run_ends_with_1_where_a_gate_halts_or_the_work_fails(
    tmp_path: Path, shell: Shell, work: type[FakeWork], status: str
) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    if status == "halted":
        work.verdicts = (PASSED, LOST)
    else:
        work.error = FineTuneError("the disk is full", "Free space")
    code, out, _ = shell("run", "run-1")
    assert code == 1
    assert status in out
    assert (LOST.sentence if status == "halted" else "the disk is full") in out


def test_bounds_reach_the_gates_and_those_that_are_not_the_defaults_are_recorded(
    tmp_path: Path, shell: Shell, work: type[FakeWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, in_status(S.FLAGGED, 1), in_status(S.FLAGGED, 2))
    monkeypatch.setenv("TIDEGATE_FINETUNE_MIN_LABEL_MASS", "0.25")
    shell("run", "run-1", "--min-recall", "0.05", "--min-exact-match", "0.9", "--gate-time-limit", "2h")
    assert work.bounds == CandidateBounds(min_recall=0.05, min_label_mass=0.25, time_limit_seconds=7_200)
    step = stored(tmp_path).steps[-1]
    assert step.numbers == {
        "recall": 0.3,
        "bound_min_recall": 0.05,
        "bound_min_label_mass": 0.25,
        "bound_time_limit_seconds": 7_200,
    }
    assert step.why.startswith("all 1 gates passed (with other bounds than the defaults: min_recall 0.05, ")
    monkeypatch.delenv("TIDEGATE_FINETUNE_MIN_LABEL_MASS")
    shell("run", "run-2")
    assert work.bounds == CandidateBounds()
    assert (stored(tmp_path, "run-2").steps[-1].why, stored(tmp_path, "run-2").steps[-1].numbers) == (
        "all 1 gates passed",
        {"recall": 0.3},
    )


def test_how_the_engine_is_reached_is_said_anew_since_a_run_is_not_known_by_it(
    tmp_path: Path, shell: Shell, work: type[FakeWork]
) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    shell("run", "--engine-url", "http://gpu:8000/v1", "--engine-options", "max_model_len=64")
    assert work.engine == {"engine_url": "http://gpu:8000/v1", "engine_options": {"max_model_len": "64"}}


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--min-exact-match", "1.1", "1.1 is not in the range 0<=x<=1"),
        ("--min-recall", "nan", "nan is not in the range 0<=x<=1"),
        ("--min-recall-over-chance", "inf", "inf is not in the range x>=0"),
        ("--chance-from-clusters", "0", "0 is not in the range x>=1"),
        ("--max-recall-loss", "much", "'much' is not a valid float"),
        ("--gate-time-limit", "0m", "'0m' is not a duration"),
    ],
)
def test_a_bound_that_means_nothing_is_refused_before_anything_is_done(
    tmp_path: Path, shell: Shell, work: type[FakeWork], option: str, value: str, words: str
) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    code, _, err = shell("run", option, value)
    assert code == 2
    assert option in err
    assert words in err
    assert stored(tmp_path).status is S.FLAGGED


def test_persons_are_told_at_the_webhook_and_only_once(
    tmp_path: Path, shell: Shell, work: type[FakeWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(module.Webhook, "__call__", lambda _, record: told.append(record.status))
    put(tmp_path, in_status(S.FLAGGED))
    for _ in range(2):
        assert shell("run", "--webhook-url", "http://hooks.example/")[0] == 0
    assert told == ["pending_review"]


def test_a_candidate_that_is_gone_or_another_is_not_approved(tmp_path: Path, shell: Shell) -> None:
    put(tmp_path, in_status(S.PENDING_REVIEW))
    code, _, err = shell("approve", "run-1", *WHY)
    assert code == 1
    assert "finetunes/run-1/candidate" in err
    assert stored(tmp_path).status is S.PENDING_REVIEW


def test_another_candidate_than_the_judged_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, in_status(S.PENDING_REVIEW))

    class Other:
        fingerprint = "another"

    monkeypatch.setattr(module, "open_candidate", lambda _: Other)
    with open_bench(tmp_path, None, ManualClock()) as bench:
        with pytest.raises(FineTuneError, match="the candidate is another, and candidate was judged"):
            bench.check_candidate(stored(tmp_path))
        Other.fingerprint = "candidate"
        bench.check_candidate(stored(tmp_path))


def test_nobody_is_let_in_without_a_token(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    monkeypatch.delenv("TIDEGATE_FINETUNE_TOKENS", raising=False)
    code, _, err = shell("serve")
    assert code == 2
    assert "no token is set up" in err
    code, _, err = shell("serve", "--host", "0.0.0.0")
    assert code == 2
    with pytest.raises(ConfigError, match="no token is set up"):
        access_by_tokens({})
    access = access_by_tokens({"TIDEGATE_FINETUNE_READ_TOKENS": "read-read-read-read"})
    assert (access.decide, access.read is None) == (None, False)


def test_work_that_is_begun_over_http_runs_in_a_process_of_its_own_and_ends_with_the_service(tmp_path: Path) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    with started_runs(tmp_path, None, Messages()) as start:
        start("run-1")
        start("run-1")  # it is on its way
    assert stored(tmp_path).status in (S.FLAGGED, S.FAILED)  # ended before it began, or no such run in the store


@pytest.mark.parametrize("error", [EngineError("no weights", "Train some"), ValueError("an odd one")])
def test_a_failure_is_shown_with_its_problem(
    tmp_path: Path, shell: Shell, work: type[FakeWork], error: Exception
) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    work.error = error
    shell("run", "run-1")
    out = shell("show", "run-1")[1]
    assert str(error) in out
    assert "mend the cause" in out


def test_a_service_by_itself_shows_and_decides_and_ends_in_order(tmp_path: Path) -> None:
    put(tmp_path, in_status(S.FLAGGED))
    (tmp_path / "tokens").write_text("decide-decide-decide\n")
    command = [sys.executable, "-c", "from tidegate.cli.main import main; main()", "finetune", "serve"]
    process = subprocess.Popen(
        [*command, "--home", str(tmp_path), "--port", "0", "--no-run"],
        env=os.environ | {"TIDEGATE_FINETUNE_TOKENS_FILE": str(tmp_path / "tokens")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        url = next(line.split()[1] for line in process.stderr if line.startswith("serving"))
        with httpx.Client(headers={"authorization": "Bearer decide-decide-decide"}, timeout=60) as client:
            assert [each["status"] for each in client.get(url).json()["fine_tunes"]] == ["flagged"]
            answer = client.post(f"{url}/run-1/reject", json={"by": "ann", "reason": "not now"})
            assert (answer.status_code, answer.json()["status"]) == (200, "rejected")
            assert client.post(f"{url}/run-1/run").status_code == 409
            assert httpx.get(url, timeout=60).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    assert stored(tmp_path).status is S.REJECTED
