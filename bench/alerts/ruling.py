"""What the committed rules make of recorded series: promtool evaluates them as a Prometheus would."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from bench.alerts.recorded import STEP_SECONDS, Recording

RULES = Path(__file__).resolve().parents[2] / "monitoring" / "alerts"
_METRIC = re.compile(r"\b(?:tidegate_[a-z0-9_]+|up)\b")
_GROUP = re.compile(r"^  - name: (\S+)$", re.MULTILINE)
_RECORDING = ("tidegate-hit-rate", "tidegate-flow")
_GOT = re.compile(r"got:\s*(nil|.*)")


class RulesFailedError(Exception):
    """Promtool could not evaluate the rules; the message is its own."""


def rule_files(*names: str) -> list[Path]:
    """Return the committed rule files, or those named."""
    return [RULES / f"{name}.rules.yml" for name in names] if names else sorted(RULES.glob("*.rules.yml"))


def metrics_in(paths: Iterable[Path]) -> frozenset[str]:
    """Names of all metrics that rules ask for."""
    return frozenset(name for path in paths for name in _METRIC.findall(path.read_text(encoding="utf-8")))


def firing_steps(
    promtool: Path, recordings: Sequence[Recording], rules: Sequence[Path], folder: Path, *, every_steps: int = 3
) -> list[dict[str, int]]:
    """Evaluate rules over recordings; returns for each of them the alerts that fired, with the first step they did.

    Parameters
    ----------
    every_steps : steps between evaluations: rules of hours and days need no more
    """
    alerts = sorted(
        {name for path in rules for name in re.findall(r"- alert: (\w+)", path.read_text(encoding="utf-8"))}
    )
    file = folder / "recorded.test.yml"
    file.write_text(_test_file(recordings, rules, alerts, every_steps), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    found = _firsts(said, len(recordings))
    if found is None:
        raise RulesFailedError(said[:2_000])
    return found


def _test_file(recordings: Sequence[Recording], rules: Sequence[Path], alerts: Sequence[str], every: int) -> str:
    """Write a test that asks for the first firing instant of each alert, and expects an answer that cannot be.

    Promtool says what it got only where it is not what was expected: that is how its evaluation is read.
    """
    seconds = every * STEP_SECONDS
    groups = [name for path in rules for name in _GROUP.findall(path.read_text(encoding="utf-8"))]
    lines = ["rule_files:", *(f"  - {path}" for path in rules), f"evaluation_interval: {seconds}s"]
    lines += [f"group_eval_order: [{', '.join(sorted(groups, key=_comes_late))}]", "tests:"]
    for number, recording in enumerate(recordings):
        end = (recording.n_steps - 1) // every * seconds
        lines += [f"  - name: n{number}", f"    interval: {STEP_SECONDS}s", "    input_series:"]
        for name, values in recording.series.items():
            lines.append(f"      - {{series: '{name}', values: '{_values(values)}'}}")
        first = f'min_over_time((time() * (ALERTS{{alertstate="firing"}} > 0))[{end}s:{seconds}s])'
        lines += [
            "    promql_expr_test:",
            f"      - expr: min by (alertname) ({first})",
            f"        eval_time: {end}s",
            "        exp_samples: [{labels: '{alertname=\"none\"}', value: -1}]",
        ]
    assert alerts, "rule files without a rule that fires"
    return "\n".join(lines) + "\n"


def _comes_late(group: str) -> bool:
    """Whether a group asks for what others record: it is evaluated after them, as both are in the same instant here."""
    return group not in _RECORDING


def _values(values: Iterable[float | None]) -> str:
    """Write values in promtool's notation, equal ones in a row as one.

    Examples
    --------
    >>> _values([None, 2.0, 2.0, 2.0, 3.5])
    '_ 2.0x2 3.5'
    """
    said = []
    for value, group in groupby(values):
        n_repeats = sum(1 for _ in group) - 1
        said.append(
            f"_x{n_repeats + 1}" if value is None and n_repeats else "_" if value is None else repr(float(value))
        )
        if value is not None and n_repeats:
            said[-1] += f"x{n_repeats}"
    return " ".join(said)


def _firsts(said: str, n_recordings: int) -> list[dict[str, int]] | None:
    """Read what promtool got; None where it did not come to compare anything."""
    blocks = re.split(r"expr: ", said)[1:]
    if len(blocks) != n_recordings:
        return None
    found = []
    for block in blocks:
        got = _GOT.search(block[block.index("got:") :]) if "got:" in block else None
        text = "" if got is None else got[1]
        found.append(
            {
                name: round(float(value)) // STEP_SECONDS
                for name, value in re.findall(r'alertname="(\w+)"\} ([\d.eE+]+)', text)
            }
        )
    return found
