"""Do alerts keep quiet, and do they come in time? ``python -m bench.alerting``.

Thirty simulated days without drift, in each of the worlds that must not look as if they drifted, must wake nobody;
drift of a tenth of the traffic, three of five successors replaced, must fire within one window. The metrics are those
of the real pipeline, the rules those that are committed, and promtool evaluates them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from bench.alerts.recorded import STEP_SECONDS, Recording, record_run
from bench.alerts.ruling import firing_steps, metrics_in, rule_files
from bench.table import Figure, publish
from stream.worlds import World, world_named
from stream.worlds.settings import Drift, DriftKind

PROMTOOL = Path(__file__).resolve().parents[1] / ".tools" / "prometheus" / "promtool"
QUIET = ("flat", "diurnal", "growth", "heavy")
DRIFT_ALERT = "TidegateDriftWithoutRefresh"
_STEPS_A_DAY = 86_400 // STEP_SECONDS
_WINDOW_DAYS, _PLANTED_DAY, _PLANTED_DAYS, _QUIET_DAYS = 3, 6, 10, 30
_AT_ONCE = 10
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Quiet:
    """What thirty days without drift looked like.

    Attributes
    ----------
    fired : alerts by name, with the step they fired first
    least_p : smallest p-value of a window
    oldest_windows : greatest age of the serving table, in windows
    burn : greatest burn rates by the length of their range in hours
    """

    fired: dict[str, int]
    least_p: float
    oldest_windows: float
    burn: dict[int, float]


def planted_world(seed: int) -> World:
    """Make a world in which a tenth of the traffic changes at a midnight that two quiet windows precede."""
    drift = Drift(DriftKind.ABRUPT, traffic_share=0.1, start=_PLANTED_DAY / _PLANTED_DAYS)
    return World("planted", days=_PLANTED_DAYS, seed=seed, drifts=(drift,))


def quiet(name: str, seed: int, promtool: Path = PROMTOOL, days: int = _QUIET_DAYS) -> Quiet:
    """Run through quiet days with the default policy, under all rules."""
    rules = rule_files()
    world = replace(world_named(name), days=days, seed=seed)
    recording = record_run(world, "adaptive", metrics_in(rules), batches_a_day=3 * _STEPS_A_DAY)
    with tempfile.TemporaryDirectory() as folder:
        (fired,) = firing_steps(promtool, [recording], rules, Path(folder))
    window_seconds = _WINDOW_DAYS * 86_400
    return Quiet(
        fired,
        min(_known(recording, "tidegate_drift_p_value"), default=1.0),
        max(_known(recording, "tidegate_table_age_seconds"), default=0.0) / window_seconds,
        {hours: greatest_burn(recording, hours) for hours in (2, 6, 24, 72)},
    )


def days_until_fired(seeds: Sequence[int], promtool: Path = PROMTOOL) -> list[float | None]:
    """Days from the planted change to the alert, by seed; None where it does not fire, 0 or less where it was wrong.

    The table is held (policy `never`), so that the alert is what asks for the refresh.
    """
    rules = rule_files("freshness")
    names = frozenset(name for name in metrics_in(rules) if "drift" in name or "refresh_completed" in name)
    recordings = [record_run(planted_world(seed), "never", names, batches_a_day=48) for seed in seeds]
    with tempfile.TemporaryDirectory() as folder:
        fired = firing_steps(promtool, recordings, rules, Path(folder), every_steps=1)
    steps = [found.get(DRIFT_ALERT) for found in fired]
    return [None if step is None else step / _STEPS_A_DAY - _PLANTED_DAY for step in steps]


def is_in_time(days: float | None) -> bool:
    """Whether an alert came within one window; the window is judged when lateness has passed, a step later."""
    return days is not None and 0 < days <= _WINDOW_DAYS + 2 / _STEPS_A_DAY


def greatest_burn(recording: Recording, hours: int) -> float:
    """Greatest burn rate over ranges of `hours`, as the recording rules have it; 0 before there is an objective."""
    hits = _series(recording, 'tidegate_hits_total{kind="next"')
    scored, objective = (
        _series(recording, f"tidegate_{name}") for name in ("scored_transitions_total", "hit_rate_objective")
    )
    n = hours * 3_600 // STEP_SECONDS
    burns = [0.0]
    for at in range(n, recording.n_steps):
        asked = objective[at] if at < len(objective) else None
        n_scored = (scored[at] or 0.0) - (scored[at - n] or 0.0)
        if asked is not None and n_scored > 0:
            rate = ((hits[at] or 0.0) - (hits[at - n] or 0.0)) / n_scored
            burns.append((1 - 0.9 * rate / asked) / 0.1)
    return max(burns)


def _series(recording: Recording, prefix: str) -> list[float | None]:
    return next((values for name, values in recording.series.items() if name.startswith(prefix)), [])


def _known(recording: Recording, prefix: str) -> Iterable[float]:
    return (value for value in _series(recording, prefix) if value is not None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and publish; exit code 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="worlds with planted drift")
    parser.add_argument("--quiet-seeds", type=int, default=2, help="quiet months of each world")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args(arguments)
    seeds = [range(first, min(first + _AT_ONCE, asked.seeds)) for first in range(0, asked.seeds, _AT_ONCE)]
    months = [(name, seed) for name in QUIET for seed in range(asked.quiet_seeds)]
    with multiprocessing.get_context("spawn").Pool(asked.processes, maxtasksperchild=4) as pool:
        calm = [_told(month) for month in pool.imap(_quiet, months)]
        until = [_told(days) for some in pool.imap(days_until_fired, seeds) for days in some]
    figures, is_met = _figures(until, calm)
    publish("alerting", figures)
    return 0 if is_met else 1


def _quiet(month: tuple[str, int]) -> Quiet:
    return quiet(*month)


def _told(found: _T) -> _T:
    """Say what was found as soon as it is: all of it takes an hour of one core."""
    print(found, file=sys.stderr, flush=True)
    return found


def _figures(until: Sequence[float | None], calm: Sequence[Quiet]) -> tuple[list[Figure], bool]:
    n_fired, in_time = sum(len(month.fired) for month in calm), [is_in_time(days) for days in until]
    sorted_days = sorted(days for days in until if days is not None)
    worlds = f"{', '.join(QUIET)}: 64 clusters, 2,600 sessions a day at first, panes of a day, windows of three"
    months = f"{len(calm)} months of 30 days; {worlds}; policy adaptive, frequency engine, all rules"
    planted = (
        f"{len(until)} seeds; flat world, 3 of 5 successors of pairs with 10 % of the traffic replaced at a midnight;"
        " the table is held"
    )
    share = sum(in_time) / len(in_time)
    figures = [
        Figure("alerts in quiet months", n_fired, "alerts", "0", _named(months, calm)),
        Figure("drift fired within one window", share, "of seeds", ">= 0.99", planted),
        Figure(
            "days until it fired, median", sorted_days[len(sorted_days) // 2] if sorted_days else None, "d", "", planted
        ),
        Figure("days until it fired, longest", sorted_days[-1] if sorted_days else None, "d", "<= 3.01", planted),
        Figure(
            "least p-value of a quiet window", min(month.least_p for month in calm), "probability", "> 0.0001", months
        ),
        Figure("oldest table", max(month.oldest_windows for month in calm), "windows", "<= 3", months),
    ]
    for hours, bound in ((2, "2"), (6, "5"), (24, "2"), (72, "1")):
        worst = max(month.burn[hours] for month in calm)
        figures.append(Figure(f"greatest burn rate over {hours} h", worst, "ratio", f"bound {bound}", months))
    return figures, n_fired == 0 and share >= 0.99


def _named(conditions: str, calm: Sequence[Quiet]) -> str:
    names = sorted({name for month in calm for name in month.fired})
    return f"{conditions}; fired: {', '.join(names)}" if names else conditions


if __name__ == "__main__":
    sys.exit(main())
