"""The real components that tests exercise: where each is found, and the account of who asked for it.

A test asks through a fixture of `tests/conftest.py` or through ``@pytest.mark.real(KAFKA.name)``. Where the component
is missing the test is skipped and the reason is listed at the end of the run; in CI, where all must be there, it fails.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / ".tools"
KAFKA_LIBS = TOOLS / "kafka" / "libs"
AXE = TOOLS / "axe" / "axe.min.js"
PROMETHEUS_PROGRAMS = ("prometheus", "promtool", "alertmanager", "amtool")
DEBIAN_POSTGRES = Path("/usr/lib/postgresql")


class ComponentMissingError(Exception):
    """A real component is not on this machine; the message says what would bring it."""


@dataclass(frozen=True, slots=True)
class Component:
    """A real component.

    Attributes
    ----------
    name : str
    fixture : str              the fixture that provides it
    find : () -> Path          where it is; raises ComponentMissingError with what to do
    """

    name: str
    fixture: str
    find: Callable[[], Path]


@dataclass(slots=True)
class Account:
    """Which components this run exercised, and which it missed and why."""

    exercised: Counter[str] = field(default_factory=Counter)
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def to_plain(self) -> list[list[object]]:
        """Name, why it was missed (empty where it was not) and number of tests: what passes between processes."""
        of_exercised = [[name, "", n] for name, n in self.exercised.items()]
        return of_exercised + [[name, why, n] for (name, why), n in self.missed.items()]

    def add_plain(self, rows: list[list[object]]) -> None:
        """Add another process's account, as `to_plain` tells it."""
        for name, why, n in rows:
            if why:
                self.missed[str(name), str(why)] += int(str(n))
            else:
                self.exercised[str(name)] += int(str(n))

    def lines(self) -> list[str]:
        """One line for each component, ready to print."""
        lines = [f"exercised  {name} ({_tests(n)})" for name, n in sorted(self.exercised.items())]
        lines += [f"missing    {name} ({_tests(n)}): {why}" for (name, why), n in sorted(self.missed.items())]
        asked = set(self.exercised) | {name for name, _ in self.missed}
        return lines + [f"not asked  {component.name}" for component in COMPONENTS if component.name not in asked]


def _tests(n: int) -> str:
    return f"{n} test" if n == 1 else f"{n} tests"


def find_kafka() -> Path:
    """Folder of Kafka's jars."""
    if shutil.which("java") is None:
        raise ComponentMissingError("no java on PATH (17 or newer is needed)")
    if not (KAFKA_LIBS.parent / "VERSION").is_file():
        raise ComponentMissingError("run scripts/fetch-kafka")
    return KAFKA_LIBS


def find_promtool() -> Path:
    """The promtool binary."""
    on_path = shutil.which("promtool")
    unpacked = TOOLS / "prometheus" / "usr" / "bin" / "promtool"
    if on_path is None and not unpacked.is_file():
        raise ComponentMissingError("not on PATH; run scripts/fetch-promtool")
    return Path(on_path) if on_path else unpacked


def find_prometheus() -> Path:
    """Folder of the programs ``prometheus``, ``promtool``, ``alertmanager`` and ``amtool``."""
    folder = TOOLS / "prometheus"
    missing = [name for name in PROMETHEUS_PROGRAMS if not (folder / name).is_file()]
    if missing:
        raise ComponentMissingError(f"no {', '.join(missing)}; run scripts/fetch-promtool")
    return folder


def find_postgres() -> Path:
    """Folder of PostgreSQL's programs: the one that PATH leads to, or the newest of Debian's."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(DEBIAN_POSTGRES.glob("[0-9]*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file() and _is_server(folder / "postgres"):
            return folder
    raise ComponentMissingError("no server on PATH or in /usr/lib/postgresql; run scripts/setup")


def _is_server(program: Path) -> bool:
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.startswith("postgres (PostgreSQL)")


def find_real_logs() -> Path:
    """Folder of real event logs."""
    named = os.environ.get("TIDEGATE_DATA")
    if not named:
        raise ComponentMissingError("TIDEGATE_DATA is not set; name the folder of the logs in it")
    if not Path(named).is_dir():
        raise ComponentMissingError(f"TIDEGATE_DATA names {named}, which is no folder")
    return Path(named)


def find_vllm() -> Path:
    """Folder of the package; it is not imported, which takes long and must not happen in a process that runs Faust."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise ComponentMissingError("not in this environment; run scripts/setup on Linux, x86-64")
    return Path(spec.origin).parent


def find_chromium() -> Path:
    """The browser; its tests need axe-core beside it."""
    on_path = shutil.which("chromium")
    if on_path is None or not AXE.is_file():
        raise ComponentMissingError("no chromium on PATH or no axe-core; run scripts/fetch-browser")
    return Path(on_path)


KAFKA = Component("Apache Kafka", "kafka", find_kafka)
PROMTOOL = Component("promtool", "promtool", find_promtool)
PROMETHEUS = Component("Prometheus and Alertmanager", "prometheus_programs", find_prometheus)
POSTGRES = Component("PostgreSQL", "postgres", find_postgres)
REAL_LOGS = Component("real event logs", "real_logs", find_real_logs)
VLLM = Component("vLLM", "vllm", find_vllm)
CHROMIUM = Component("Chromium", "chromium", find_chromium)
COMPONENTS = (KAFKA, PROMTOOL, PROMETHEUS, POSTGRES, REAL_LOGS, VLLM, CHROMIUM)


def component_named(name: str) -> Component:
    """Look up a component of the registry."""
    return next(component for component in COMPONENTS if component.name == name)


def require(component: Component, account: Account) -> Path:
    """Where `component` is; without it the test is skipped, and fails under CI.

    Every call is one test in the account.
    """
    try:
        place = component.find()
    except ComponentMissingError as missing:
        why = str(missing)
    else:
        account.exercised[component.name] += 1
        return place
    account.missed[component.name, why] += 1
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {component.name}: {why}", pytrace=False)
    pytest.skip(f"{component.name}: {why}")
