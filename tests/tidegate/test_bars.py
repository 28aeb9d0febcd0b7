"""One bar shows one kind of step after another."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tidegate.cli.bars import StepBar


@pytest.fixture
def bar() -> StepBar:
    return StepBar(Console(file=io.StringIO(), force_terminal=True, width=120), "")


def test_a_bar_without_a_first_step_comes_with_the_first_one_that_is_shown(bar: StepBar):
    (task,) = bar._progress.tasks
    assert not task.visible
    bar.on_training("copying", 3, 400)
    assert (task.visible, task.description, task.completed, task.total) == (True, "training: copying (steps)", 3, 400)


def test_another_kind_of_step_begins_anew(bar: StepBar):
    (task,) = bar._progress.tasks
    bar.on_training("copying", 400, 400)
    assert task.finished
    bar.on_rows(7, 5_000)
    assert (task.completed, task.total, task.finished, task.speed) == (7, 5_000, False, None)
