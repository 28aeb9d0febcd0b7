"""Gates: what each finds, requires and says."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from refresh.gates import Asked, Candidate, GateBounds, Probed, Support, failed, judge
from refresh.gates.changes import changed_share, coverage_of
from refresh.table import TransitionTable
from tests.tables import NAMES, PAIRS, small_table
from tidegate.config import RunSettings
from tidegate.contracts import GateVerdict
from tidegate.counts import BucketedCounts, pack_transitions

Cells = dict[tuple[int, int, int, int], int]
BOUNDS = GateBounds()


def counts_of(cells: Cells) -> BucketedCounts:
    """Counts from {(c1, c2, c_next, bucket): n}."""
    columns = np.array(sorted(cells), np.int64).reshape(-1, 4).T
    return BucketedCounts(pack_transitions(*columns), np.array([cells[key] for key in sorted(cells)], np.int64))


# Half of the transitions have a pair with a row, a quarter are answered by the backoff, a quarter by nothing.
WINDOW = counts_of({(0, 1, 2, 0): 6, (1, 2, 0, 1): 4, (4, 1, 2, 2): 5, (1, 3, 0, 3): 5})


def judged(
    table: TransitionTable | None = None,
    *,
    serving: TransitionTable | None = None,
    is_first: bool = False,
    asked: Asked | None = None,
    probed: Probed | None = None,
    bounds: GateBounds = BOUNDS,
    is_full: bool = False,
    window: BucketedCounts = WINDOW,
) -> dict[str, GateVerdict]:
    candidate = Candidate(
        table=table or small_table(),
        serving=None if is_first else serving or small_table(),
        asked=asked or Asked(100, 0, label_mass_mean=0.9),
        probed=probed,
        is_full=is_full,
        window=window,
        newest=window,
        support=Support(window),
    )
    return {verdict.gate: verdict for verdict in judge(candidate, bounds)}


def test_a_candidate_like_the_serving_table_passes_all_gates() -> None:
    verdicts = judged()
    assert list(verdicts) == ["validity", "label_mass", "exact_match", "coverage", "rows_changed", "hit_rate"]
    assert failed(verdicts.values()) == ()
    assert all(verdict.sentence for verdict in verdicts.values())


def test_a_first_table_is_judged_by_its_answers_alone() -> None:
    empty = TransitionTable.empty(NAMES, 3)
    assert list(judged(empty, is_first=True)) == ["validity", "label_mass", "exact_match"]


def test_the_settings_have_the_bounds_of_the_gates_and_are_no_part_of_what_a_run_is_known_by() -> None:
    for field in fields(GateBounds):
        assert RunSettings.model_fields[field.name].default == field.default, field.name
        assert field.name in RunSettings._apart()


@pytest.mark.parametrize(
    ("n_rows", "n_invalid", "passes"),
    [(1_000, 20, True), (1_000, 21, True), (1_000, 60, False), (3, 1, True), (3, 3, False), (1, 1, True)],
)
def test_invalid_answers_fail_where_they_are_more_than_chance_would_have(
    n_rows: int, n_invalid: int, passes: bool
) -> None:
    verdict = judged(asked=Asked(n_rows, n_invalid, {"not_new": n_invalid}, 0.9))["validity"]
    assert (verdict.is_passed, verdict.found, verdict.required) == (passes, n_invalid / n_rows, 0.02)
    assert f"{n_invalid} not_new" in verdict.sentence
    assert ("may be chance" in verdict.sentence) == (passes and n_invalid / n_rows > 0.02)


def test_a_refresh_that_asked_for_nothing_has_no_answers_to_judge() -> None:
    verdicts = judged(asked=Asked(0, 0))
    for gate in ("validity", "label_mass", "exact_match"):
        assert (verdicts[gate].is_passed, verdicts[gate].found) == (True, None)
        assert verdicts[gate].sentence.startswith("not applicable: ")


@pytest.mark.parametrize(("mass", "passes"), [(0.5, True), (0.49, False), (float("nan"), False)])
def test_answers_that_the_model_would_not_have_given_fail(mass: float, passes: bool) -> None:
    assert judged(asked=Asked(10, 0, label_mass_mean=mass))["label_mass"].is_passed is passes


@pytest.mark.parametrize(("n_matches", "passes"), [(256, True), (231, True), (222, True), (200, False), (0, False)])
def test_free_answers_that_are_no_descriptions_fail(n_matches: int, passes: bool) -> None:
    verdict = judged(probed=Probed(256, n_matches))["exact_match"]
    assert (verdict.is_passed, verdict.found) == (passes, n_matches / 256)
    assert f"{n_matches} of 256 free answers" in verdict.sentence


def test_coverage_counts_transitions_and_may_fall_by_the_tolerance_only() -> None:
    assert coverage_of(small_table(), WINDOW.without_buckets()) == 0.75
    less = small_table({(0, 1): (2, 3), (3, 1): (4,)})  # (1, 2) has no row, and no backoff
    verdict = judged(less)["coverage"]
    assert not verdict.is_passed
    assert (verdict.found, verdict.required) == (0.55, pytest.approx(0.73))
    assert judged(less, bounds=replace(BOUNDS, coverage_tolerance=0.25))["coverage"].is_passed


def test_the_floor_of_coverage_asks_for_nothing_that_the_serving_table_does_not_give() -> None:
    loose = replace(BOUNDS, coverage_tolerance=1.0, min_coverage=0.6)
    less = small_table({(0, 1): (2, 3), (3, 1): (4,)})
    assert not judged(less, bounds=loose)["coverage"].is_passed
    assert judged(less, serving=less, bounds=loose)["coverage"].is_passed


def test_a_window_without_transitions_has_neither_coverage_nor_hits() -> None:
    verdicts = judged(window=BucketedCounts.empty())
    assert verdicts["coverage"].found is None
    assert verdicts["hit_rate"].found is None
    assert failed(verdicts.values()) == ()


def test_changed_rows_are_those_whose_first_answer_differs() -> None:
    assert changed_share(small_table(), small_table()) == 0
    reweighted = replace(small_table(), probabilities=small_table().probabilities / 2)
    assert changed_share(reweighted, small_table()) == 0
    behind = small_table({**PAIRS, (0, 1): (2, 4)})
    assert changed_share(behind, small_table()) == 0
    # Of three pairs, a new one and two rows of c2: one pair answers otherwise, one had no answer.
    assert changed_share(small_table({**PAIRS, (0, 1): (4,), (2, 3): (1,)}), small_table()) == 2 / 6


def test_rows_of_c2_count_as_changed_where_an_engine_answered_them() -> None:
    inferred = small_table(None, {1: (2, 0), 4: (0,)})
    assert changed_share(inferred, small_table()) == 1 / 5
    keys = np.zeros_like(inferred.backoff_row_keys)
    counted, before = (replace(table, backoff_row_keys=keys) for table in (inferred, small_table()))
    assert changed_share(counted, before) == 0


def test_a_full_refresh_may_change_more_than_a_selective_one() -> None:
    other = small_table({(0, 1): (4,), (1, 2): (3,), (3, 1): (2,)}, {1: (3,), 4: (0,)})
    bounds = replace(BOUNDS, max_changed_full=1.0)
    selective, full = (judged(other, bounds=bounds, is_full=is_full)["rows_changed"] for is_full in (False, True))
    assert (selective.is_passed, full.is_passed) == (False, True)
    assert (selective.found, selective.required, full.required) == (1.0, 0.8, 1.0)
    assert "by a selective refresh" in selective.sentence
    assert not judged(other, is_full=True)["rows_changed"].is_passed


def test_a_table_without_rows_changes_nothing() -> None:
    empty = TransitionTable.empty(NAMES, 3)
    assert changed_share(empty, empty) == 0


def test_where_the_world_has_turned_round_and_the_candidate_knows_it_all_rows_may_change() -> None:
    turned = counts_of({(0, 1, 4, bucket): 2 for bucket in range(20)})
    serving, candidate = small_table({(0, 1): (2,)}, {}), small_table({(0, 1): (4,)}, {})
    verdict = judged(candidate, serving=serving, window=turned, is_full=True)["rows_changed"]
    assert (verdict.found, verdict.is_passed) == (1.0, True)
    assert "more may, since it hits better by 4.5 standard deviations" in verdict.sentence
    assert not judged(serving, serving=candidate, window=turned, is_full=True)["rows_changed"].is_passed
