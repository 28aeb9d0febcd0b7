"""Workers over one store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.database import Database
from tests.stream.group.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    database = Database(tmp_path / "runs.db")
    yield World(database)
    database.close()
