"""What an order would take is reckoned from its own rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from refresh.bulk import BulkOptions
from refresh.bulk.estimate import Probe, estimate_order, probe_rows
from refresh.engines import open_engine
from tests.refresh.bulk.engines import CountingEngine, all_pairs
from tests.refresh.tiny_world import NAMES
from tidegate.clock import ManualClock

PROBE = Probe(n_rows=100, seconds=0.5, tokens_per_prompt=30.0, outputs_per_prompt=1.0, cached_share=0.7)


def test_a_probe_asks_for_neighbours_and_measures_rate_tokens_and_cache() -> None:
    clock = ManualClock()
    engine = CountingEngine(lambda _: clock.advance_ms(2_000))
    probe = probe_rows(engine, all_pairs(), BulkOptions(clock=clock), top_n=2, n_rows=50)
    assert probe is not None
    assert (probe.n_rows, probe.rows_per_second) == (50, 25.0)
    assert (probe.tokens_per_prompt, probe.outputs_per_prompt, probe.cached_share) == (10.0, 1.0, 0.7)
    asked = sorted(engine.asked)
    assert asked == sorted(all_pairs_in_order()[165:215])
    assert sum(engine.asked.values()) == 51  # one of them before, to start what has to be started


def all_pairs_in_order() -> list[tuple[int, int]]:
    rows = all_pairs()
    return sorted(zip(rows.c1.tolist(), rows.c2.tolist(), strict=True))


def test_an_engine_that_does_not_tell_tokens_is_reckoned_by_words() -> None:
    probe = probe_rows(open_engine("frequency", NAMES), all_pairs(), BulkOptions(), top_n=2, n_rows=10)
    assert probe is not None
    assert (probe.tokens_per_prompt, probe.cached_share) == (13.0, None)


def test_no_rows_need_no_probe() -> None:
    assert probe_rows(CountingEngine(), all_pairs(), BulkOptions(), top_n=2, n_rows=0) is None


def test_time_tokens_and_cost_follow_from_the_probe() -> None:
    found = estimate_order(1_000, BulkOptions(chunk_rows=300), probe=PROBE, price_per_million_tokens=2.0)
    assert (found.n_calls, found.n_chunks, found.seconds, found.prompt_tokens) == (1_000, 4, 5.0, 30_000)
    assert found.cost == pytest.approx(31_000 * 2 / 1e6)


def test_finished_shards_are_not_reckoned_again(tmp_path: Path) -> None:
    for name in ("000000.shard", "000003.shard"):
        (tmp_path / name).touch()
    found = estimate_order(1_000, BulkOptions(chunk_rows=300), folder=tmp_path, rows_per_second=100.0)
    assert (found.n_calls, found.n_chunks_finished, found.seconds) == (400, 2, 4.0)
    (tmp_path / "done").touch()
    assert estimate_order(1_000, BulkOptions(chunk_rows=300), folder=tmp_path).n_calls == 1_000


def test_what_nothing_tells_stays_open() -> None:
    found = estimate_order(10, BulkOptions(), price_per_million_tokens=1.0)
    assert (found.seconds, found.prompt_tokens, found.cost) == (None, None, None)
    assert estimate_order(0, BulkOptions()).seconds == 0.0
