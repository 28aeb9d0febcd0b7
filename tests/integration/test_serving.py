"""A run that serves: lookups and metrics over HTTP while and after it reads."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.broker import free_ports
from tests.runs import SYNTHETIC, small_log
from tidegate.cli.run import run
from tidegate.config import load_settings


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run that goes on serving; gives its URL and summary."""
    folder = tmp_path_factory.mktemp("served")
    (port,) = free_ports(1)
    flags = {"source": str(small_log(folder)), "home": folder / "home", "serve": True, "port": port, **SYNTHETIC}
    stop, has_finished, summaries = threading.Event(), threading.Event(), []

    def keep(summary: dict[str, Any]) -> None:
        summaries.append(summary)
        has_finished.set()

    thread = threading.Thread(
        target=run, args=(load_settings(flags), Console(quiet=True), stop), kwargs={"on_summary": keep}
    )
    thread.start()
    assert has_finished.wait(60)
    yield f"http://127.0.0.1:{port}", summaries[0]
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def samples(text: str) -> dict[str, float]:
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line and not line.startswith("#")
    }


def test_metrics_say_what_the_summary_says(served: tuple[str, dict[str, Any]]):
    url, summary = served
    found = samples(get(f"{url}/metrics"))
    assert found['tidegate_events_total{outcome="counted"}'] == summary["outcomes"]["counted"]
    assert found['tidegate_events_total{outcome="negative"}'] == summary["outcomes"]["negative"]
    assert found["tidegate_transitions_total"] == summary["transitions"]
    assert found["tidegate_sequences_total"] == summary["sequences"]
    assert found["tidegate_scored_transitions_total"] == summary["scored"]
    assert found['tidegate_hits_total{kind="next"}'] == pytest.approx(summary["hit_rate_next"] * summary["scored"])
    assert found['tidegate_hits_total{kind="sequence"}'] == pytest.approx(
        summary["hit_rate_sequence"] * summary["scored"]
    )
    assert found["tidegate_llm_calls_total"] == summary["llm_calls"]
    assert found["tidegate_table_version"] == summary["table_version"]
    assert (found["tidegate_orders_open"], "tidegate_order_age_seconds" in found) == (0, False)
    assert found["tidegate_windows_total"] == summary["windows"]
    last = summary["reports"][-1]
    assert found["tidegate_jaccard_mean"] == pytest.approx(last["jaccard_mean"])
    assert found["tidegate_drift_mean"] == pytest.approx(last["drift_mean"])


def test_metrics_pass_the_linter_of_prometheus(served: tuple[str, dict[str, Any]], promtool: Path):
    text = get(f"{served[0]}/metrics")
    command = [promtool, "check", "metrics"]
    checked = subprocess.run(command, input=text, text=True, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_serving_version_is_looked_up(served: tuple[str, dict[str, Any]]):
    url, summary = served
    deadline = time.monotonic() + 20
    while (
        json.loads(get(f"{url}/readyz"))["version"] != summary["table_version"]
    ):  # the pointer is looked at each second
        assert time.monotonic() < deadline
        threading.Event().wait(0.1)
    answer = json.loads(get(f"{url}/v1/next?c1=0&c2=1&n=3"))
    assert answer["version"] == summary["table_version"]
