"""Alerts as code: promtool accepts them, each has its runbook, words and tests, and asks only for what is exported."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitoring.exposition import render
from tests.monitoring.promql import selected
from tidegate.cli.metric_catalogue import CATALOGUED, families, registry_of, series_of

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "monitoring" / "alerts"
RUNBOOKS = ROOT / "docs" / "runbooks"
RULE_FILES = sorted(ALERTS.glob("*.rules.yml"))
TEST_FILES = sorted((ALERTS / "tests").glob("*.test.yml"))
HEADINGS = ["What it means", "What to look at", "What to do", "When to ignore it"]
MAX_SERIES = 500
_QUERY = re.compile(r"`([^`]+)`")


def rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in RULE_FILES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


ALERT_RULES = [rule for rule in rules() if "alert" in rule]
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
EXPORTED = series_of(CATALOGUED) | {"up"}


def checks() -> list[tuple[str, bool]]:
    """Alerts that are tested, and whether the test wants them to fire."""
    found = []
    for path in TEST_FILES:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            found += [(check["alertname"], bool(check["exp_alerts"])) for check in test["alert_rule_test"]]
    return found


TESTED = set(checks())


def asked_in(expression: str) -> set[str]:
    """Names of the series that an expression asks for."""
    return {found.name for found in selected(expression)}


def test_promtool_accepts_every_rule(promtool: Path):
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.name)
def test_every_alert_fires_where_it_must_and_is_silent_elsewhere(promtool: Path, path: Path):
    tested = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_is_wrong_fails_its_test(promtool: Path, tmp_path: Path):
    (tmp_path / "tests").mkdir()
    for rule_file in RULE_FILES:
        text = rule_file.read_text(encoding="utf-8").replace("> 6 * 3600", "> 60 * 3600")
        (tmp_path / rule_file.name).write_text(text, encoding="utf-8")
    copy = tmp_path / "tests" / "pipeline.test.yml"
    tests = yaml.safe_load((ALERTS / "tests" / "pipeline.test.yml").read_text(encoding="utf-8"))
    tests["tests"] = [test for test in tests["tests"] if test["name"] == "an order may take six hours"]
    copy.write_text(yaml.safe_dump(tests), encoding="utf-8")
    tested = subprocess.run([promtool, "test", "rules", copy], capture_output=True, text=True, check=False)
    assert tested.returncode == 1
    assert "TidegateOrderOpenTooLong" in tested.stdout + tested.stderr


@pytest.mark.parametrize("rule", ALERT_RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_a_person_needs(rule: dict[str, Any]):
    name, annotations = rule["alert"], rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert not annotations["summary"].endswith(".")
    assert annotations["description"].endswith(".")
    assert "$value" in annotations["description"] or "| query" in annotations["description"] or name.endswith("Down")
    assert annotations["runbook_url"] == f"docs/runbooks/{name}.md"
    assert (name, True) in TESTED
    assert (name, False) in TESTED


@pytest.mark.parametrize("rule", ALERT_RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_its_runbook(rule: dict[str, Any]):
    text = (RUNBOOKS / f"{rule['alert']}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {rule['alert']}\n\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^#.*$", text, flags=re.MULTILINE)[1:])


def test_no_runbook_is_of_no_alert():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {rule["alert"] for rule in ALERT_RULES}


def test_runbooks_name_only_metrics_that_are_exported():
    known = EXPORTED | RECORDED | set(families())
    for path in RUNBOOKS.glob("*.md"):
        spans = _QUERY.findall(path.read_text(encoding="utf-8"))
        named = {name for span in spans for name in re.findall(r"\b(?:run:)?tidegate_[a-z0-9_:]+", span)}
        assert not named - known, path.name


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_metric_in_a_rule_exists(rule: dict[str, Any]):
    said = rule.get("annotations", {}).get("description", "")
    queries = [rule["expr"], *(query.replace("%s", "x") for query in _QUERY.findall(said))]
    asked = set().union(*map(asked_in, queries))
    assert asked
    assert not asked - EXPORTED - RECORDED


def test_a_metric_that_does_not_exist_would_be_found():
    assert asked_in("max by (run) (tidegate_no_such_thing) > 3") == {"tidegate_no_such_thing"}


@pytest.mark.parametrize("role", CATALOGUED)
def test_a_process_exports_fewer_series_than_it_may(role: str):
    text = render(registry_of(role))
    n_series = sum(not line.startswith("#") for line in text.splitlines())
    assert n_series <= MAX_SERIES
    assert {family.name for family in text_string_to_metric_families(text)}


def test_no_metric_of_a_run_escapes_the_count_of_its_series_or_the_page():
    assert [family.name for family in registry_of("run").collect() if not family.samples] == []


@pytest.mark.parametrize("role", CATALOGUED)
def test_promtool_finds_nothing_to_complain_about_in_what_a_role_exports(promtool: Path, role: str):
    command = [promtool, "check", "metrics"]
    checked = subprocess.run(command, input=render(registry_of(role)), capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_names_end_in_their_unit_and_what_has_none_is_a_count_a_ratio_or_a_state():
    of_no_unit = re.compile(
        r"(?:_total|_info|_seconds|_ratio|_bytes)$|_(?:rate|objective|mean|variance|z|p_value|coverage|version|rows"
        r"|pending|open|owned|paused|idle|waiting|running|alarmed|flagged|compared|records|row|statistic|threshold|tunes)$"
        r"|^tidegate_coverage$"
    )
    ours = {name: family for name, (family, _) in families().items() if name.startswith("tidegate_")}
    assert not [name for name in ours if not of_no_unit.search(name)]
    for name, family in ours.items():
        assert name.endswith("_total") == (family.type == "counter"), name
        said = family.documentation.lower()
        assert not name.endswith("_seconds") or re.search(r"second|since the epoch|how long|age of", said), name


def test_no_metric_means_two_things():
    said: dict[str, set[str]] = {}
    for role in CATALOGUED:
        for family in registry_of(role).collect():
            said.setdefault(family.name, set()).add(family.documentation)
    assert not {name: texts for name, texts in said.items() if len(texts) > 1}
