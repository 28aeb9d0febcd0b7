"""Real components for tests, and the list of them that ends every run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker import KafkaBroker
from tests.components import (
    CHROMIUM,
    COMPONENTS,
    KAFKA,
    POSTGRES,
    PROMETHEUS,
    PROMTOOL,
    REAL_LOGS,
    Account,
    component_named,
    require,
)
from tests.postgres import PostgresServer
from tests.scopes import rank_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.vllm_server import VllmHost

ACCOUNT = pytest.StashKey[Account]()

# Products here are of small matrices. Threads of OpenBLAS and of OpenMP wait for each other in a loop, and where
# two processes share a run, on a core that the other needs: a run took up to twice the processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_configure(config: pytest.Config) -> None:
    """Open the run's account."""
    config.stash[ACCOUNT] = Account()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test whose component is missing, before any of its fixtures starts."""
    fixtures = getattr(item, "fixturenames", ())
    asked = {component.name for component in COMPONENTS if component.fixture in fixtures}
    asked |= {str(mark.args[0]) for mark in item.iter_markers("real")}
    for name in sorted(asked):
        require(component_named(name), item.config.stash[ACCOUNT])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what is dear to start: what takes longest shall not be what is left at the end."""
    items.sort(key=lambda item: rank_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the run among processes by what tests start."""
    from tests.sharing import ByComponent

    return ByComponent(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the account of one of several processes to the one that prints it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["account"] = session.config.stash[ACCOUNT].to_plain()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add up the accounts of several processes; one that died has none."""
    node.config.stash[ACCOUNT].add_plain(getattr(node, "workeroutput", {}).get("account", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """List what was real in this run, where any test asked for something real."""
    account = config.stash[ACCOUNT]
    if account.exercised or account.missed:
        terminalreporter.section("real components")
        for line in account.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """One real broker for the whole run, started when the first test asks for it. Name topics after your test."""
    with KafkaBroker(KAFKA.find(), tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One real server for the whole run, started when the first test asks for it. Create a database for your test."""
    with PostgresServer(POSTGRES.find(), tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The promtool binary."""
    return PROMTOOL.find()


@pytest.fixture(scope="session")
def prometheus_programs() -> Path:
    """Folder of ``prometheus``, ``promtool``, ``alertmanager`` and ``amtool``."""
    return PROMETHEUS.find()


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmHost]:
    """Real vLLM for the whole run, in process and as a server: both start when the first test asks for it."""
    from tests.vllm_server import VllmHost

    with VllmHost(tmp_path_factory.mktemp("vllm")) as host:
        yield host


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One real browser for a module, without a window. Open a context of your own, and close it.

    Not for the whole run: as long as it lives, playwright's event loop is the one that runs in this thread.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # As root there is no sandbox to be had; pages are our own.
        browser = driver.chromium.launch(
            executable_path=CHROMIUM.find(), headless=True, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def real_logs() -> Path:
    """Folder of real event logs."""
    return REAL_LOGS.find()
