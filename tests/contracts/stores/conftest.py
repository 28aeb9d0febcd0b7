"""A run of its own on each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import POSTGRES
from tests.contracts.stores.world import Store
from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database("contracts-stores")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real(POSTGRES.name))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    is_sqlite = request.param == "sqlite"
    opened = Store(str(tmp_path / "new" / "runs.db") if is_sqlite else request.getfixturevalue("postgres_url"))
    yield opened
    opened.close()
