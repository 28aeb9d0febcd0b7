"""A refresh by hand, as a person reads it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from monitoring.refresh_terminal import print_estimate, print_refresh

ABOUT = {
    "window_start": "2024-01-01T00:00:00Z", "window_end": "2024-01-04T00:00:00Z", "engine": "vllm", "ordered": "all",
    "rows": 578_360, "rows_known": 360, "llm_calls": 578_000, "chunks": 142, "cached_share": 0.66,
}  # fmt: skip
ESTIMATE = ABOUT | {
    "chunks_finished": 0, "prompt_tokens": 90_000_000, "rows_per_second": 500.0, "seconds": 1_156.0, "cost": None,
    "probe_rows": 1_024, "needs_training": False,
}  # fmt: skip
REPORT = ABOUT | {
    "outcome": "completed", "table_version": 7, "is_published": True, "rows_changed": 1_234, "rows_invalid": 3,
    "faults": {"unknown_cluster": 2, "no_answer": 1}, "chunks_inferred": 100, "chunks_of_others": 40,
    "chunks_resumed": 2, "prompts": 570_000, "prompt_tokens": 89_000_000, "seconds": 1_200.0,
    "inference_seconds": 7_300.0, "rows_per_second": 475.4, "gates": [], "candidate": None,
}  # fmt: skip


def shown(show: Any, found: dict[str, Any]) -> dict[str, str]:
    """Lines by their name."""
    out = io.StringIO()
    show(Console(file=out, width=200), found)
    pairs = [line.strip().split("  ", 1) for line in out.getvalue().splitlines() if "  " in line.strip()]
    return {name: value.strip() for name, value in pairs}


@pytest.mark.parametrize(
    ("changed", "name", "value"),
    [
        ({}, "calls", "578,000"),
        ({}, "of them from cache", "66%"),
        ({}, "rate", "500 rows/s, measured on 1,024 rows"),
        ({"probe_rows": 0}, "rate", "500 rows/s, as given"),
        ({}, "time with one worker", "19 min 16 s"),
        ({"seconds": 12.34}, "time with one worker", "12.3 s"),
        ({"seconds": None, "rows_per_second": None}, "time with one worker", "–"),
        ({"chunks_finished": 12}, "chunks", "142, 12 of them finished"),
        ({"cost": 36.0}, "cost", "36 (all tokens at the full price)"),
        ({"needs_training": True}, "note", "there is no model yet: the refresh trains one first; give --model, or"),
    ],
)
def test_an_estimate_says_what_it_rests_on(changed: dict[str, Any], name: str, value: str) -> None:
    assert shown(print_estimate, ESTIMATE | changed)[name].startswith(value)


@pytest.mark.parametrize(
    ("changed", "name", "value"),
    [
        ({}, "table version", "7 (published)"),
        ({"is_published": False}, "table version", "7 (serves as before)"),
        ({}, "invalid outputs", "3 (2 unknown cluster, 1 no answer)"),
        ({}, "chunks", "142: 100 inferred here, 40 by other workers, 2 from before"),
        ({}, "prompt tokens", "89,000,000, 66% from cache"),
        ({}, "time", "20 min 0 s, 2 h 1 min of it inference"),
        ({}, "rate", "475 rows/s"),
        (
            {"gates": [{"gate": "hit_rate", "is_passed": False, "sentence": "it loses 9 hits"}]},
            "gate hit rate",
            "FAILED: it loses 9 hits",
        ),
        ({"candidate": 4}, "kept aside as", "candidate 4"),
    ],
)
def test_a_report_says_what_became_of_it(changed: dict[str, Any], name: str, value: str) -> None:
    assert shown(print_refresh, REPORT | changed)[name].startswith(value)


def test_what_does_not_apply_is_not_shown() -> None:
    assert "prompts" not in shown(print_refresh, REPORT | {"prompts": 0})
    assert not {"cost", "note"} & shown(print_estimate, ESTIMATE).keys()
