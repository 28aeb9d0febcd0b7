"""What is left of orders goes when nobody will ask for it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refresh.bulk.orders import BulkOrder, begin_order, finish_order, is_unfinished, sweep_orders
from tests.refresh.bulk.engines import CountingEngine, all_pairs, keys_of

ROWS, ENGINE = all_pairs(), CountingEngine()


def begun(folder: Path, *, pane: int = 5, is_by_hand: bool = False) -> Path:
    order = BulkOrder.of(
        ENGINE,
        keys_of(ENGINE, ROWS),
        ROWS,
        order_id=folder.name,
        pane=pane,
        is_by_hand=is_by_hand,
        top_n=2,
        chunk_rows=100,
    )
    begin_order(folder, order)
    return folder


def swept(root: Path, **of: int | bool) -> list[str]:
    sweep_orders(root, **{"pane": 5, "is_by_hand": False, **of})  # type: ignore[arg-type]
    return sorted(path.name for path in root.iterdir())


def test_chunks_cover_the_rows_and_the_last_one_is_shorter() -> None:
    order = BulkOrder.of(
        ENGINE, keys_of(ENGINE, ROWS), ROWS, order_id="o", pane=0, is_by_hand=False, top_n=2, chunk_rows=100
    )
    chunks = [order.chunk(number) for number in range(order.manifest.n_chunks)]
    assert [(chunk.start, chunk.stop) for chunk in chunks] == [(0, 100), (100, 200), (200, 300), (300, 380)]


def test_an_order_is_the_same_whatever_order_its_rows_are_given_in(tmp_path: Path) -> None:
    back = ROWS[np.arange(380)[::-1]]
    orders = [
        BulkOrder.of(ENGINE, keys_of(ENGINE, rows), rows, order_id="o", pane=0, is_by_hand=False, top_n=2, chunk_rows=9)
        for rows in (ROWS, back)
    ]
    assert orders[0].digest == orders[1].digest


def test_rows_are_found_in_the_order_or_not_at_all() -> None:
    order = BulkOrder.of(
        ENGINE, keys_of(ENGINE, ROWS), ROWS, order_id="o", pane=0, is_by_hand=False, top_n=2, chunk_rows=9
    )
    some = keys_of(ENGINE, ROWS)[[7, 300, 2]]
    places = order.places(some)
    assert places is not None
    np.testing.assert_array_equal(order.keys[places], some)
    assert order.places(np.zeros((1, 2), np.uint64)) is None


def test_finished_orders_are_swept(tmp_path: Path) -> None:
    finish_order(begun(tmp_path / "done"))
    begun(tmp_path / "open")
    assert not is_unfinished(tmp_path / "done")
    assert is_unfinished(tmp_path / "open")
    assert swept(tmp_path) == ["open"]


def test_unfinished_orders_of_earlier_panes_are_swept_with_their_kind(tmp_path: Path) -> None:
    begun(tmp_path / "earlier", pane=4)
    begun(tmp_path / "by hand", pane=4, is_by_hand=True)
    begun(tmp_path / "now")
    assert swept(tmp_path) == ["by hand", "now"]
    assert swept(tmp_path, pane=6, is_by_hand=True) == ["now"]


def test_an_order_that_is_just_being_begun_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "young").mkdir()
    assert swept(tmp_path) == ["young"]


def test_where_no_order_ever_was_nothing_is_swept(tmp_path: Path) -> None:
    sweep_orders(tmp_path / "none", pane=1, is_by_hand=True)
    finish_order(tmp_path / "none")
    assert not list(tmp_path.iterdir())
