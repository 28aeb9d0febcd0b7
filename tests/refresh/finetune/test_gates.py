"""What each gate over a candidate finds, requires and says, on answers that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from refresh.codebook import Codebook
from refresh.engines import Answers
from refresh.finetune.gates import (
    CandidateBounds,
    CandidateJudge,
    Expected,
    Hearing,
    Labelled,
    Sampled,
    Trial,
    judge_candidate,
)
from refresh.finetune.gates.labelled import first_allowed, mean_by_groups, most_popular, tail_of
from refresh.finetune.gates.memorisation import memorisation, others_alike, share_of
from refresh.finetune.gates.recall import context, recall
from refresh.finetune.gates.regression import regression, tail
from refresh.finetune.gates.rows import named
from refresh.finetune.gates.speech import determinism, exact_match
from refresh.finetune.gates.verdicts import at_least, at_most, verdict_of
from refresh.finetune.overriding import INTEGRITY, not_overridable
from refresh.finetune.runner import Job
from refresh.prompts import PromptBuilder, RowContexts, Template
from tidegate.contracts import FineTune, FineTuneFlag, FineTuneReason, FineTuneStatus, GateVerdict
from tidegate.counts import BucketedCounts, pack_pairs, pack_transitions
from tidegate.errors import ConfigError, EngineError, FineTuneError

N_CLUSTERS = 12
NAMES = [f"interest {cluster}" for cluster in range(N_CLUSTERS)]


class Told:
    """An engine that answers each row by its c1, c2 and target's place in a list."""

    name, fingerprint = "told", "told.v1"

    def __init__(
        self, first: NDArray[np.int32], contexts: RowContexts, said: Callable[[str], str] | None = None
    ) -> None:
        self._answer_of = dict(zip(_keys(contexts), first.tolist(), strict=True))
        self.prompts = PromptBuilder(Template.packaged(), Codebook.of(NAMES))
        self._says = said or (lambda _: "<c0001>")
        self.noise = 0.0

    def grow(self, names: Sequence[str]) -> None: ...

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: object = None) -> Answers:
        clusters = np.full((len(contexts), top_n), -1, np.int32)
        clusters[:, 0] = [self._answer_of[key] for key in _keys(contexts)]
        likely = np.where(clusters >= 0, np.float32(0.5 + self.noise), np.float32(0))
        self.noise += 1e-4
        return Answers(clusters, likely, likely[:, 0].copy())

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        return [self._says(prompt) for prompt in prompts]


def _keys(contexts: RowContexts) -> list[tuple[int, int, tuple[int, ...]]]:
    return list(zip(contexts.c1.tolist(), contexts.c2.tolist(), map(tuple, contexts.retrieved.tolist()), strict=True))


def _digits(n: int) -> NDArray[np.int32]:
    """Numbers in the catalogue's ids, so that each row is another one: int32[n, 4]."""
    return (np.arange(n)[:, None] // N_CLUSTERS ** np.arange(4) % N_CLUSTERS).astype(np.int32)


def rows_of(
    c1: Sequence[int], c2: Sequence[int], targets: Sequence[int], users: Sequence[int], traffic: float = 1.0
) -> Labelled:
    """Rows whose retrieved clusters are the digits of their number: each is another context."""
    contexts = RowContexts(np.array(c1, np.int32), np.array(c2, np.int32), _digits(len(c1)))
    return Labelled(contexts, np.array(targets, np.int32), np.array(users, np.int64), np.full(len(c1), traffic))


def drawn(n: int, seed: int, *, n_users: int = 12, n_clusters: int = N_CLUSTERS, sure: float = 0.6) -> Labelled:
    """Transitions in which most users go on to c2 + 1, the others to any cluster."""
    generator = np.random.default_rng(seed)
    c1, c2, other = generator.integers(0, n_clusters, (3, 4 * n))
    c_next = np.where(generator.random(4 * n) < sure, (c2 + 1) % n_clusters, other)
    rows = np.flatnonzero((c1 != c2) & (c_next != c1) & (c_next != c2))[:n]
    users = generator.integers(0, n_users, 4 * n)
    return rows_of(c1[rows].tolist(), c2[rows].tolist(), c_next[rows].tolist(), users[rows].tolist())


def heard(
    test: Labelled,
    first: NDArray[np.int32],
    *,
    served: NDArray[np.int32] | None = None,
    taught: Labelled | None = None,
    names: Sequence[str] = NAMES,
    bounds: CandidateBounds | None = None,
    says: Callable[[str], str] | None = None,
) -> Hearing:
    """A hearing in which the engines answer the test rows like this."""
    nobody = rows_of([], [], [], [])
    found = Sampled("s", tuple(names), 2, taught or drawn(600, 99), nobody, test)
    trial = Trial(
        folder=Path("candidate"),
        names=names,
        expected=Expected(None, "s", 2),
        base_folder=None,
        samples=lambda: found,
        open_candidate=lambda: Told(first, test.contexts, says),
        open_serving=None if served is None else lambda: Told(served, test.contexts),
        bounds=bounds or CandidateBounds(),
    )
    return Hearing(trial)


def usual(test: Labelled, n_clusters: int = N_CLUSTERS) -> NDArray[np.int32]:
    """What most users go on to, where it is allowed."""
    answers = (test.contexts.c2 + 1) % n_clusters
    return np.where(answers == test.contexts.c1, (answers + 1) % n_clusters, answers).astype(np.int32)


def test_the_mean_of_groups_is_that_of_plain_arithmetic_and_its_interval_covers() -> None:
    generator = np.random.default_rng(2)
    n_covered = 0
    for _ in range(300):
        groups = np.repeat(np.arange(12), 20)
        values = np.repeat(generator.normal(0.3, 0.2, 12), 20) + generator.normal(0, 0.5, 240)
        found = mean_by_groups(values, groups, 0.95)
        sums = [sum(values[groups == each] - values.mean()) for each in range(12)]
        assert found.mean == pytest.approx(values.mean())
        assert found.deviation == pytest.approx(math.sqrt(sum(each**2 for each in sums) * 12 / 11) / 240)
        n_covered += found.low <= 0.3 <= found.high
    assert 270 <= n_covered <= 297  # 285 are expected


def test_one_group_alone_tells_nothing() -> None:
    assert mean_by_groups(np.ones(5), np.zeros(5, np.int64), 0.95)[1:] == (-math.inf, math.inf, math.inf)
    assert mean_by_groups(np.ones(0), np.zeros(0, np.int64), 0.95).deviation == math.inf


def test_weights_count_rows_as_often() -> None:
    values, groups = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0, 0, 1, 2])
    found = mean_by_groups(values, groups, 0.9, np.array([2.0, 1.0, 1.0, 1.0]))
    again = mean_by_groups(np.r_[values, 1.0], np.r_[groups, 0], 0.9)
    assert found == pytest.approx(again)


def test_the_first_allowed_of_an_order_is_found_row_by_row() -> None:
    rows, order = drawn(200, 1), np.array([3, 5, 1, 0], np.int32)
    expected = [
        next(each for each in order.tolist() if each not in (c1, c2))
        for c1, c2 in zip(rows.contexts.c1.tolist(), rows.contexts.c2.tolist(), strict=True)
    ]
    assert first_allowed(order, rows.contexts).tolist() == expected
    assert set(first_allowed(np.array([3], np.int32), rows.contexts).tolist()) == {3, -1}


def test_the_tail_is_what_has_least_traffic() -> None:
    rows = rows_of([0] * 10, [1] * 10, [2, 2, 2, 2, 2, 2, 3, 3, 4, 5], range(10))
    assert np.flatnonzero(tail_of(rows, 6, 0.2)).tolist() == [0, 1, 4, 5]
    assert np.flatnonzero(tail_of(replace(rows, traffic=np.r_[np.ones(9), 9.0]), 6, 0.2)).tolist() == [0, 1, 3, 4]


def test_recall_of_a_large_catalogue_is_held_against_chance() -> None:
    names = [f"topic {n}" for n in range(250)]
    test = drawn(500, 3, n_clusters=250)
    right = usual(test, 250)
    good = recall(heard(test, right, names=names))
    assert good.is_passed
    assert good.required == pytest.approx(10 / 250)
    wrong = np.where(np.arange(500) % 20 == 0, right, (right + 5) % 250).astype(np.int32)
    bad = recall(heard(test, wrong, names=names))
    assert not bad.is_passed
    assert 0.015 < (bad.found or 0) < 0.04
    assert "times chance" in bad.sentence
    assert "'topic " in bad.sentence


def test_the_floor_of_recall_holds_where_ten_times_chance_is_less() -> None:
    names = [f"topic {n}" for n in range(2_000)]
    test = drawn(1_000, 3, n_clusters=2_000)
    verdict = recall(heard(test, np.where(np.arange(1_000) < 12, usual(test, 2_000), 0).astype(np.int32), names=names))
    assert verdict.required == 0.015
    assert not verdict.is_passed


def test_recall_of_a_small_catalogue_is_held_against_the_most_popular() -> None:
    test = drawn(500, 4)
    assert recall(heard(test, usual(test))).is_passed
    popular = recall(heard(test, most_popular(test, N_CLUSTERS)))
    assert not popular.is_passed
    assert (popular.found or 0) > CandidateBounds().min_recall  # the paper's floor alone would let it pass
    assert "+0.0000" in popular.sentence


def test_popularity_is_weighed_by_the_traffic_that_capped_rows_stand_for() -> None:
    generator = np.random.default_rng(5)
    test = drawn(400, 5)
    # Half of all traffic goes on to one cluster, though labels were capped to the same number of rows.
    traffic = np.where(test.targets == 7, 20.0, 1.0)
    first = np.where(generator.random(400) < 0.3, test.targets, usual(test)).astype(np.int32)
    first = np.where(test.targets == 7, (test.contexts.c2 + 2) % N_CLUSTERS, first).astype(np.int32)
    assert recall(heard(test, first)).is_passed
    assert not recall(heard(replace(test, traffic=traffic), first)).is_passed


def test_answers_that_do_not_look_at_the_context_are_told_from_those_that_do() -> None:
    test = drawn(500, 6)
    assert context(heard(test, usual(test))).is_passed
    free = context(heard(test, first_allowed(np.array([9, 2, 4], np.int32), test.contexts)))
    assert (free.found, free.is_passed) == (1.0, False)
    assert "'interest 9'" in free.sentence


def test_an_honest_model_is_not_taken_for_one_that_memorised() -> None:
    for seed in range(40):
        test, taught = drawn(400, 1_000 + seed), drawn(1_200, seed, n_users=30)
        # It has learnt by heart whatever the taught users did: the most that it may know.
        others = BucketedCounts(*np.unique(_packed(taught), return_counts=True)).without_buckets()
        first = usual(test)
        for row, pair in enumerate(pack_pairs(test.contexts.c1, test.contexts.c2).tolist()):
            at = np.searchsorted(others.pairs, pair)
            if at < others.pairs.size and others.pairs[at] == pair:
                span = slice(others.offsets[at], others.offsets[at + 1])
                first[row] = others.successors[span][others.counts[span].argmax()]
        verdict = memorisation(heard(test, first, taught=taught))
        assert verdict.is_passed, verdict.sentence
        assert verdict.found is not None
        assert verdict.found < 0.05


def test_a_model_that_was_shown_the_test_users_is_found_out() -> None:
    test, taught = drawn(400, 7), drawn(1_200, 8, n_users=30)
    shown = np.where(np.random.default_rng(1).random(400) < 0.7, test.targets, usual(test)).astype(np.int32)
    verdict = memorisation(heard(test, shown, taught=taught))
    assert not verdict.is_passed
    assert "what no taught user did" in verdict.sentence


def test_memorisation_says_where_too_few_rows_tell() -> None:
    test = drawn(60, 9)
    verdict = memorisation(heard(test, usual(test)))
    assert (verdict.found, verdict.is_passed) == (None, True)
    assert "not applicable" in verdict.sentence


def test_taught_rows_are_thinned_to_labels_as_likely_as_in_the_test_set() -> None:
    test, taught = drawn(600, 10), drawn(4_000, 11)
    # In the test set, label 3 was capped to a quarter; in the taught ones it was not.
    capped = replace(test, traffic=np.where(test.targets == 3, 4.0, 1.0))
    kept = others_alike(taught, capped, N_CLUSTERS).successor_totals(N_CLUSTERS)
    before = np.bincount(taught.targets, minlength=N_CLUSTERS)
    assert kept[3] == pytest.approx(before[3] / 4, rel=0.25)
    others = np.arange(N_CLUSTERS) != 3
    assert (kept[others] == before[others]).all()


def test_shares_of_others_are_those_of_plain_counting() -> None:
    taught, asked = drawn(500, 12), drawn(300, 13)
    pairs, answers = pack_pairs(asked.contexts.c1, asked.contexts.c2), usual(asked)
    share, is_seen = share_of(others_alike(taught, asked, N_CLUSTERS), pairs, answers)
    known = list(zip(taught.contexts.c1.tolist(), taught.contexts.c2.tolist(), taught.targets.tolist(), strict=True))
    for row in range(300):
        same = [target for c1, c2, target in known if (c1 << 16 | c2) == pairs[row]]
        assert is_seen[row] == bool(same)
        assert share[row] == pytest.approx(same.count(int(answers[row])) / len(same) if same else 0)


def test_a_sure_loss_against_the_serving_weights_is_refused_however_small() -> None:
    test = drawn(2_000, 14, sure=0.9)
    served = test.targets
    mine = np.where(np.arange(2_000) % 25 == 0, (served + 1) % N_CLUSTERS, served).astype(np.int32)
    verdict = regression(heard(test, mine, served=served))
    assert not verdict.is_passed
    assert verdict.found == pytest.approx(-0.04)
    assert verdict.required == 0
    assert "80 hits are lost" in verdict.sentence


def test_a_large_loss_is_refused_where_few_users_prove_nothing() -> None:
    test = drawn(120, 15, n_users=4)
    served = test.targets
    mine = np.where(test.users == 0, (served + 1) % N_CLUSTERS, served).astype(np.int32)
    verdict = regression(heard(test, mine, served=served))
    assert not verdict.is_passed
    assert "95% interval" in verdict.sentence


def test_no_loss_passes_and_without_serving_weights_there_is_none() -> None:
    test = drawn(300, 16)
    assert regression(heard(test, usual(test), served=usual(test))).is_passed
    first = regression(heard(test, usual(test)))
    assert (first.found, first.is_passed) == (None, True)


def test_a_loss_on_the_tail_is_not_made_up_for_by_the_head() -> None:
    generator = np.random.default_rng(17)
    test = drawn(2_000, 17)
    is_tail = tail_of(test, N_CLUSTERS, 0.2)[test.targets]
    served = np.where(generator.random(2_000) < 0.5, test.targets, (test.targets + 1) % N_CLUSTERS).astype(np.int32)
    mine = np.where(is_tail, (test.targets + 1) % N_CLUSTERS, test.targets).astype(np.int32)
    hearing = heard(test, mine, served=served)
    assert regression(hearing).is_passed
    assert not tail(hearing).is_passed


def test_repeated_answers_may_differ_by_the_tolerance_of_the_engine_and_no_more() -> None:
    test = drawn(300, 18)
    exact = determinism(heard(test, usual(test), bounds=CandidateBounds(probability_tolerance=0.0)))
    assert not exact.is_passed
    assert "'interest " in exact.sentence
    assert determinism(heard(test, usual(test))).is_passed  # it is not the embedded engine, which answers bit for bit


def test_exact_match_names_the_rows_that_lost_their_format_and_what_was_written() -> None:
    test = drawn(300, 19)

    def says(prompt: str) -> str:
        return "Sure!\x1b[31m Here is <one>" if "<c0004>" in prompt else "<c0001>"

    verdict = exact_match(heard(test, usual(test), says=says))
    assert not verdict.is_passed
    assert "it wrote 'Sure! (31m Here is (one)'" in verdict.sentence or "it wrote 'Sure!" in verdict.sentence
    assert "\x1b" not in verdict.sentence


def test_a_probe_of_few_rows_is_no_probe() -> None:
    test = drawn(10, 20)
    verdict = exact_match(heard(test, usual(test)))
    assert (verdict.found, verdict.is_passed) == (None, False)


def test_the_probe_does_not_depend_on_the_order_of_the_rows() -> None:
    test = drawn(400, 21)
    order = np.random.default_rng(0).permutation(400)
    turned = Labelled(test.contexts[order], test.targets[order], test.users[order], test.traffic[order])
    one, other = heard(test, usual(test)).probe, heard(turned, usual(turned)).probe
    assert one.columns(1).tolist() == other.columns(1).tolist()
    assert len(one) == 256


def test_an_engine_that_writes_no_text_cannot_be_judged() -> None:
    test = drawn(100, 22)

    class Mute:
        name, fingerprint = "mute", "mute.v1"

    hearing = Hearing(replace(heard(test, usual(test)).trial, open_candidate=lambda: cast(Any, Mute)))
    with pytest.raises(EngineError, match="writes no text"):
        _ = hearing.engine


def test_a_gate_that_raises_or_returns_nothing_is_a_block() -> None:
    def fails() -> GateVerdict:
        raise KeyError("missing\x1b[2J")

    found = verdict_of("own", fails, 5.0)
    assert (found.gate, found.found, found.is_passed) == ("own", None, False)
    assert "KeyError" in found.sentence
    assert "\x1b" not in found.sentence
    assert not verdict_of("own", lambda: at_least("other", 1, 0, ""), 5.0).is_passed
    assert verdict_of("own", lambda: at_least("own", 1, 0, ""), 5.0).is_passed


def test_a_gate_of_ones_own_stands_in_for_none_of_ours() -> None:
    test = drawn(100, 23)
    with pytest.raises(ConfigError, match="recall cannot be replaced"):
        judge_candidate(heard(test, usual(test)).trial, more_gates={"recall": recall})


def test_what_is_no_number_passes_no_bound() -> None:
    assert not at_least("own", math.nan, 0.5, "").is_passed
    assert not at_most("own", math.nan, 0.5, "").is_passed


def test_persons_may_override_numbers_and_never_integrity() -> None:
    def lost(gate: str, found: float | None) -> GateVerdict:
        return GateVerdict(gate=gate, found=found, required=None, is_passed=False, sentence="")

    assert not_overridable([lost("recall", 0.01), lost("exact_match", 0.8)]) == ()
    assert not_overridable([lost("recall", None)]) == ("recall",)
    assert not_overridable([lost(gate, 0.0) for gate in INTEGRITY]) == INTEGRITY


def test_rows_are_named_a_few_at_a_time() -> None:
    assert named([], 0) == ""
    assert named(iter("abcdef"), 6) == "; first: a, b, c, … (3 more)"


def test_a_record_that_names_no_candidate_cannot_be_judged(tmp_path: Path) -> None:
    flag = FineTuneFlag(flag_id="run-1", window_end_ms=1, reason=FineTuneReason.AGE, numbers={})
    record = FineTune(fine_tune_id="run-1", run_id="run", status=FineTuneStatus.GATED, flag=flag, steps=())
    judge = CandidateJudge(
        names=NAMES,
        pane_ms=1,
        base_of=lambda _: None,
        open_candidate=lambda _: Told(*_nothing()),
        open_serving=None,
    )
    with pytest.raises(FineTuneError, match="names no samples or no candidate"):
        judge(Job(record, tmp_path, lambda: False))
    whole = msgspec.structs.replace(record, sample_checksum="s", candidate_fingerprint="c")
    verdicts = judge(Job(whole, tmp_path, lambda: False))
    assert [verdict.gate for verdict in verdicts] == ["files"]
    assert not verdicts[0].is_passed
    kept = msgspec.json.decode((tmp_path / "gates" / "verdicts.json").read_bytes(), type=tuple[GateVerdict, ...])
    assert kept == verdicts


def _nothing() -> tuple[NDArray[np.int32], RowContexts]:
    return np.zeros(0, np.int32), rows_of([], [], [], []).contexts


def _packed(rows: Labelled) -> NDArray[np.int64]:
    columns = (rows.contexts.c1, rows.contexts.c2, rows.targets, np.zeros(len(rows)))
    return pack_transitions(*(column.astype(np.int64) for column in columns))
