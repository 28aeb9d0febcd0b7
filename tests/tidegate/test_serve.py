"""``tidegate serve`` as people run it: several processes on one port, versions that move under load, an orderly end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.marked_tables import publish_marked
from refresh.lookup import Lookup
from refresh.serving import Answers, build_app, serve
from refresh.table_store import TableStore
from tests.broker import free_ports
from tests.roles import PROGRAM
from tidegate.cli.addresses import require_loopback
from tidegate.cli.main import cli
from tidegate.cli.serving import ServeOptions, _Workers
from tidegate.errors import ConfigError, RequestError, TableError

ROOT = Path(__file__).resolve().parents[2]
N_CLUSTERS = 60
ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@contextmanager
def served(home: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and its URL; killed at the end if it still lives."""
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--home", str(home), "--port", "0", "--check-every", "0.02s", *flags],
            stderr=log,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )
    try:
        deadline = time.monotonic() + 60
        while "serving http" not in (said := (home / "log").read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        yield process, said.partition("serving ")[2].split("/v1/next")[0]
    finally:
        process.kill()
        process.wait(20)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body = answer.read()
        return json.loads(body) if answer.headers["content-type"] == "application/json" else body.decode()


def children(pid: int) -> set[int]:
    """Processes of the service: those that listen hold most memory, so the tracker of resources is told by its name."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, line = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid and b"spawn_main" in line:
            found.add(int(folder.name))
    return found


def sample(text: str, name: str) -> float:
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_several_processes_answer_on_one_port_are_replaced_and_end_in_good_order(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "tables")
    publish_marked(store, N_CLUSTERS)
    (port,) = free_ports(1)
    own = f"http://127.0.0.1:{port}"
    with served(tmp_path, "--processes", "2", "--metrics-port", str(port)) as (process, url):
        for _ in range(40):  # each a connection of its own, so both processes get some
            assert get(f"{url}/v1/next?c1=1&c2=2")["version"] == 1
        metrics = get(f"{url}/metrics")
        assert sample(metrics, 'tidegate_lookup_requests_total{outcome="answered",route="next"}') == 40
        assert sample(metrics, "tidegate_lookup_swaps_total") == 2
        apart = get(f"{own}/metrics")  # of all processes, and of the one that holds them
        assert sample(apart, 'tidegate_lookup_requests_total{outcome="answered",route="next"}') == 40
        assert 'role="serve"' in apart
        assert get(f"{own}/readyz") == {"status": "ready"}
        publish_marked(store, N_CLUSTERS)
        _until(lambda: sample(get(f"{url}/metrics"), 'tidegate_lookup_version{bound="lowest"}') == 2)
        before = children(process.pid)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        _until(lambda: len(children(process.pid) - before) == 1)
        assert _answer_or_none(f"{url}/v1/next?c1=1&c2=2") in (None, 2)  # its connections are gone with it
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "process" in (tmp_path / "log").read_text()
    assert not children(process.pid)


def _answer_or_none(url: str) -> int | None:
    try:
        return int(get(url)["version"])
    except OSError:
        return None


def _until(holds: Any, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_versions_move_under_load_without_a_failed_or_a_mixed_answer(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    for _ in range(2):
        publish_marked(store, N_CLUSTERS)
    answers = Answers(Lookup(store, check_every_ms=20))
    with serve(build_app(answers), answers=answers) as service:
        command = f"-m bench.http_load --port {service.port} --connections 8 --seconds 60 --clusters {N_CLUSTERS}"
        load = subprocess.Popen(
            [sys.executable, *command.split(), "--batch-share", "0.02"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        _until(lambda: n_answered(answers) > 0)
        for number in range(20):
            version = publish_marked(store, N_CLUSTERS) if number % 4 == 0 else store.rollback(1 + number % 2, why="x")
            _until(lambda version=version: answers.lookup.version == version)
            before = n_answered(answers)
            _until(lambda before=before: n_answered(answers) > before + 20)
        assert load.poll() is None
        load.terminate()
        found = json.loads(load.communicate(timeout=60)[0])
    assert (found["n_failed"], found["n_mixed"], found["first_failure"]) == (0, 0, "")
    assert set(found["n_by_version"]) == {"1", "2", "3", "4", "5", "6", "7"}
    assert sum(found["n_by_version"].values()) == found["n_answers"]


def n_answered(answers: Answers) -> int:
    return answers.tally.figures().requests["next", "answered"]


@pytest.mark.parametrize(
    ("host", "is_reached"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("10.0.0.7", True),
        ("example.org", True),
    ],
)
def test_an_address_that_others_reach_has_to_be_meant(host: str, is_reached: bool) -> None:
    require_loopback(host, True)
    if not is_reached:
        require_loopback(host, False)
        return
    with pytest.raises(ConfigError, match=r"--host: .* say that it is meant with --expose"):
        require_loopback(host, False)


def test_a_run_that_serves_is_refused_an_address_that_others_reach_before_it_reads_anything(tmp_path: Path) -> None:
    asked = ["run", "--source", str(tmp_path / "none.csv"), "--home", str(tmp_path / "home"), "--host", "0.0.0.0"]
    refused = CliRunner().invoke(cli, [*asked, "--serve"]).exception
    assert isinstance(refused, ConfigError)
    assert "--host: 0.0.0.0 is reached by other machines" in str(refused)
    assert "say that it is meant with --expose" in str(refused)
    assert not (tmp_path / "home").exists()
    for meant in (["--serve", "--expose"], []):  # where nothing is served, nobody is reached
        assert isinstance(CliRunner().invoke(cli, [*asked, *meant]).exception, RequestError)


def test_a_port_of_another_service_is_not_shared_by_accident(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = CliRunner().invoke(cli, ["serve", "--home", str(tmp_path), "--port", port, "--processes", "2"])
    assert isinstance(found.exception, ConfigError)
    assert "cannot be listened on" in str(found.exception)


def test_processes_that_end_again_and_again_end_the_service(tmp_path: Path) -> None:
    workers = _Workers(ServeOptions(tmp_path, n_processes=2), tmp_path / "tally")
    workers._begun[0], workers._n_short_lives = time.monotonic(), 2
    with pytest.raises(TableError, match=r"process 0: processes of the service ended 3 times .* \(code 1\)"):
        workers._replace(0, 1, threading.Event())
