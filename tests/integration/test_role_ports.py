"""A real worker on a real topic exports what its store says, on a port of its own."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from stream.sequence_kernel import SEQUENCES, TRANSITIONS
from tests.broker import KafkaBroker, free_ports
from tests.integration.test_kafka_run import messages, rows_of
from tests.integration.test_serving import samples
from tests.roles import Roles
from tests.runs import SYNTHETIC, small_log

PATIENCE_SECONDS = 60.0


def scraped(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        return samples(answer.read().decode())


def has_come_to(url: str, n_records: int) -> dict[str, float]:
    """Scrape until all records are read and committed."""
    deadline, found = time.monotonic() + PATIENCE_SECONDS, {}
    while time.monotonic() < deadline:
        try:
            found = scraped(url)
        except urllib.error.URLError:
            found = {}
        n = sum(value for name, value in found.items() if name.startswith("tidegate_events_total"))
        is_committed = found.get("tidegate_checkpoint_age_seconds") == 0
        if n == n_records and is_committed and found.get("tidegate_consumer_lag_seconds") == 0:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not read within {PATIENCE_SECONDS:.0f} s: {found}")


def test_a_worker_exports_what_its_store_says(kafka: KafkaBroker, promtool: Path, tmp_path: Path):
    rows = list(rows_of(small_log(tmp_path, days=4, sessions=300)))
    kafka.create_topic("role-ports", partitions=2)
    kafka.produce("role-ports", [*messages(rows), (b"x", b"{nonsense")])
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    settings = {"source": f"kafka://{kafka.bootstrap}/role-ports", "topics": "role-ports", "gate": "none", **SYNTHETIC}
    with Roles(tmp_path, settings) as roles:
        worker = roles.start("worker", metrics_port=port)
        found = has_come_to(url, len(rows) + 1)
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            assert json.load(answer) == {"status": "ready"}
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        worker.terminate()
        roles.wait("worker", 30)
        ledger = roles.ledger()
        outcomes, stats = ledger.outcomes(), sum(ledger.stats().values())
        ledger.close()
    for outcome, n in outcomes.items():
        assert found[f'tidegate_events_total{{outcome="{outcome}"}}'] == n, outcome
    assert outcomes["malformed"] == found["tidegate_dead_letters_total"] == 1
    assert found["tidegate_transitions_total"] == stats[TRANSITIONS]
    assert found["tidegate_sequences_total"] == stats[SEQUENCES]
    assert found["tidegate_partitions_owned"] == 2
    assert found["tidegate_consumer_lag_records"] == 0
    assert found["tidegate_commits_total"] == found["tidegate_commit_duration_seconds_count"] > 0
    assert found["tidegate_commits_fenced_total"] == found["tidegate_store_outages_total"] == 0
    assert time.time() - found["tidegate_role_heartbeat_timestamp_seconds"] < 60
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, text=True, capture_output=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
