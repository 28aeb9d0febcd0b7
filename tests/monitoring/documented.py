"""Metrics as docs/metrics.md has them, which is generated from the registries and tested to be current."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OF_PROMETHEUS = {"up": "gauge", "ALERTS": "gauge"}
EVERYWHERE = {"run", "instance", "job", "le"}


def page() -> list[tuple[str, str, str]]:
    """Name, type and labels of every metric of the page."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(\w+)` \| (\w+) \| .*? \| (.*?) \|", text, re.MULTILINE)


def recorded() -> list[str]:
    """Names that recording rules give."""
    rules = (ROOT / "monitoring" / "alerts" / "recording.rules.yml").read_text(encoding="utf-8")
    return re.findall(r"^ +- record: (\S+)$", rules, re.MULTILINE)


def types() -> dict[str, str]:
    """Type of every series that may be selected; parts of a histogram count."""
    found = OF_PROMETHEUS | dict.fromkeys(recorded(), "gauge")
    for name, kind, _ in page():
        if kind == "histogram":
            found |= {f"{name}_{part}": "counter" for part in ("bucket", "sum", "count")}
        else:
            found[name] = kind
    return found


def labels() -> set[str]:
    """Labels that take values of a fixed set, and those that Prometheus sets; an alert's own besides."""
    named = {label for _, _, column in page() for label in re.findall(r"`(\w+)`", column)}
    return EVERYWHERE | named | {"alertname", "severity"}
