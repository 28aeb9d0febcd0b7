"""Options for what the gates over new weights require; each may also come from ``TIDEGATE_FINETUNE_NAME``."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from refresh.finetune.gates.bounds import CandidateBounds
from tidegate.config.names import flag_of
from tidegate.durations import parse_duration

_F = TypeVar("_F", bound=Callable[..., Any])
_TIME_LIMIT = "gate_time_limit"


class _Number(click.FloatRange):
    """A number in a range: `nan` is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it, or refuse it with the range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


_SHARE = _Number(0, 1)
_OPTIONS: dict[str, tuple[click.ParamType, str]] = {
    "min_exact_match": (_SHARE, "Gate: share of free answers that must be a cluster's description or code."),
    "min_label_mass": (_SHARE, "Gate: mean probability that a free answer would be an allowed one."),
    "min_recall": (_SHARE, "Gate: share of held-out transitions that must be foretold."),
    "min_recall_over_chance": (_Number(min=0), "Gate: the same in times the recall of a random cluster."),
    "chance_from_clusters": (
        click.IntRange(min=1),
        "Gate: clusters from which chance is the foil of the recall; below, it is the most popular cluster.",
    ),
    "max_recall_loss": (_SHARE, "Gate: relative loss against the serving weights that needs no proof to be refused."),
    "max_invalid_share": (_SHARE, "Gate: share of answers to held-out rows that may be invalid."),
    "max_context_free_share": (_SHARE, "Gate: share of held-out rows that one order of clusters may answer."),
}


def with_bounds(function: _F) -> _F:
    """Add the options of the bounds; the command is given them as ``bounds``."""

    @functools.wraps(function)
    def bounded(*args: Any, **given: Any) -> Any:
        bounds = {name: given.pop(name) for name in _OPTIONS}
        limit_seconds = _seconds(given.pop(_TIME_LIMIT))
        return function(*args, bounds=CandidateBounds(**bounds, time_limit_seconds=limit_seconds), **given)

    defaults = CandidateBounds()
    decorated: Any = click.option(
        flag_of(_TIME_LIMIT),
        envvar=_variable(_TIME_LIMIT),
        default=f"{defaults.time_limit_seconds / 60:g}m",
        show_default=True,
        help="Time that each gate may take; longer is a block.",
    )(bounded)
    for name, (kind, said) in reversed(_OPTIONS.items()):
        default = getattr(defaults, name)
        option = click.option(
            flag_of(name), type=kind, envvar=_variable(name), default=default, show_default=True, help=said
        )
        decorated = option(decorated)
    return cast(_F, decorated)


def _variable(name: str) -> str:
    return f"TIDEGATE_FINETUNE_{name.upper()}"


def _seconds(given: str) -> float:
    return min(parse_duration(given, name=flag_of(_TIME_LIMIT)) / 1_000, threading.TIMEOUT_MAX)
