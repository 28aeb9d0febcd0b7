from __future__ import annotations

import numpy as np

from stream.drift.discoveries import flag_discoveries


def _by_the_definition(p_values: list[float], fdr: float) -> list[bool]:
    n = len(p_values)
    ranked = sorted(range(n), key=p_values.__getitem__)
    last = max((i + 1 for i, at in enumerate(ranked) if p_values[at] <= fdr * (i + 1) / n), default=0)
    return [at in ranked[:last] for at in range(n)]


def test_the_example_of_benjamini_and_hochberg_flags_four() -> None:
    # Table of their section 3.2 (thrombolysis in myocardial infarction), at q = 0.05
    p_values = np.array(
        [
            0.0001,
            0.0004,
            0.0019,
            0.0095,
            0.0201,
            0.0278,
            0.0298,
            0.0344,
            0.0459,
            0.3240,
            0.4262,
            0.5719,
            0.6528,
            0.7590,
            1.0,
        ]
    )
    assert flag_discoveries(p_values, 0.05).sum() == 4


def test_flags_follow_the_definition_on_random_p_values() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 5, 40):
        for _ in range(30):
            p_values = rng.random(n) ** 3
            assert flag_discoveries(p_values, 0.2).tolist() == _by_the_definition(p_values.tolist(), 0.2)


def test_equal_p_values_are_flagged_together() -> None:
    assert flag_discoveries(np.array([0.02, 0.02, 0.9]), 0.05).tolist() == [True, True, False]


def test_no_p_values_give_no_flags() -> None:
    assert flag_discoveries(np.zeros(0), 0.1).shape == (0,)
