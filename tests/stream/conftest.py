"""A run of the worker in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.stream.worker_runs import Case, Run


@pytest.fixture
def new_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Run]:
    return lambda case: Run(case, tmp_path_factory.mktemp("run") / "store.db")
