"""Planted bad candidates are blocked, each for its reason, and none is approved without a person on record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from refresh.engines import Engine
from refresh.finetune import lifecycle
from refresh.finetune.gates import GATES, judge_candidate
from refresh.finetune.lifecycle import Actor
from refresh.finetune.overriding import not_overridable
from refresh.gates import failed
from tests.refresh.conftest import TinyModel
from tests.refresh.finetune.gate_bench import Bench, make_bench
from tests.refresh.finetune.planted import PLANTED
from tidegate.contracts import FineTune, FineTuneAction, FineTuneFlag, FineTuneReason, FineTuneStatus, GateVerdict
from tidegate.errors import TransitionError

MACHINE = Actor("worker", 2)
PERSON = Actor("ada", 3, is_person=True)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel) -> Bench:
    return make_bench(tmp_path_factory.mktemp("fine-tune"), tiny_model.folder)


def in_review(verdicts: tuple[GateVerdict, ...]) -> FineTune:
    """Take a fine-tune to where its gates have judged."""
    flag = FineTuneFlag(flag_id="run-1", window_end_ms=1, reason=FineTuneReason.AGE, numbers={})
    record = lifecycle.take(lifecycle.flagged(flag, "run", 1), FineTuneAction.BEGIN, MACHINE, "first")
    record = lifecycle.curated(record, MACHINE, base_fingerprint="b", sample_checksum="s", numbers={})
    record = lifecycle.trained(record, MACHINE, candidate_fingerprint="c", numbers={})
    return lifecycle.judged(record, MACHINE, verdicts)


def test_there_are_fifty_planted_candidates_and_more() -> None:
    assert len(PLANTED) >= 50


def test_a_good_candidate_passes_every_gate(bench: Bench) -> None:
    verdicts = judge_candidate(bench.trial(bench.candidate))
    assert failed(verdicts) == (), [verdict.sentence for verdict in verdicts if not verdict.is_passed]
    assert tuple(verdict.gate for verdict in verdicts) == GATES
    assert in_review(verdicts).status is FineTuneStatus.PENDING_REVIEW


def test_a_good_adapter_passes_every_gate(bench: Bench, tmp_path: Path) -> None:
    verdicts = judge_candidate(bench.trial(bench.adapter(tmp_path / "candidate")))
    assert failed(verdicts) == (), [verdict.sentence for verdict in verdicts if not verdict.is_passed]


@pytest.mark.parametrize("kind", ["a bit flipped in the weights", "wrong base", "a pickle named safetensors"])
def test_no_model_is_opened_before_its_integrity_is_known(bench: Bench, tmp_path: Path, kind: str) -> None:
    opened: list[str] = []

    def note() -> Engine:
        opened.append("candidate")
        raise AssertionError

    judge_candidate(replace(PLANTED[kind].plant(bench, tmp_path), open_candidate=note))
    assert opened == []


@pytest.mark.parametrize("kind", PLANTED)
def test_bad_candidate_is_blocked(bench: Bench, tmp_path: Path, kind: str) -> None:
    planted = PLANTED[kind]
    verdicts = judge_candidate(planted.plant(bench, tmp_path), more_gates=planted.more_gates)
    lost = failed(verdicts)
    said = {verdict.gate: verdict.sentence for verdict in verdicts}
    assert planted.gate in lost, said
    assert planted.words in said[planted.gate]
    assert not planted.alone or lost == (planted.gate,), said

    record = in_review(verdicts)
    assert record.status is FineTuneStatus.HALTED
    for action, actor in (
        (FineTuneAction.PASS, MACHINE),
        (FineTuneAction.APPROVE, MACHINE),
        (FineTuneAction.APPROVE, PERSON),
        (FineTuneAction.SERVE, PERSON),
        (FineTuneAction.PROCEED, MACHINE),
        (FineTuneAction.PROCEED, Actor("", 3, is_person=True)),
    ):
        with pytest.raises(TransitionError):
            lifecycle.take(record, action, actor, "because")
    if not_overridable(verdicts):
        with pytest.raises(TransitionError, match="nobody may override"):
            lifecycle.take(record, FineTuneAction.PROCEED, PERSON, "looks fine to me")
        return
    reviewed = lifecycle.take(record, FineTuneAction.PROCEED, PERSON, "the numbers were looked at")
    with pytest.raises(TransitionError):
        lifecycle.take(reviewed, FineTuneAction.APPROVE, MACHINE, "because")
    approved = lifecycle.take(reviewed, FineTuneAction.APPROVE, PERSON, "as discussed")
    step = lifecycle.approval(approved)
    assert step is not None
    assert (step.by, step.why) == ("ada", "as discussed")
