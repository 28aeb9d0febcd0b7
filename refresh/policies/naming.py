"""Policies by name, as ``--policy`` and ``--policies`` take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from refresh.policies import triggers
from refresh.policies.adaptive import AdaptivePolicy, PolicyOptions
from refresh.policies.frames import Frame, OwnFrame, PlainFrame
from refresh.policies.plan import Plan, View
from refresh.policies.whole import BackoffPolicy, WholePolicy
from tidegate.durations import parse_duration
from tidegate.errors import RequestError

NAMES = (
    "adaptive, adaptive:PRICE, never, popular, backoff, always, every:N (panes), every:2d, jaccard:T, cusum, cara, "
    "cara:PRICE or budget:CALLS; all but the first two also with +own"
)


class Policy(Protocol):
    """Decides at every pane's end from the first full window on."""

    @property
    def name(self) -> str:
        """The name that it is asked for by."""
        ...

    def plan(self, view: View) -> Plan:
        """Answer a view; pure: equal views, equal plans."""
        ...


def open_policy(text: str, pane_ms: int, options: PolicyOptions, top_n: int = 5) -> Policy:
    """Make the policy that `text` names.

    Raises
    ------
    RequestError
        If the name is unknown, its argument is no number, or a period is not a whole number of panes.

    Examples
    --------
    >>> open_policy("every:2d+own", 86_400_000, PolicyOptions()).name
    'every:2d+own'
    """
    base, _, suffix = text.partition("+")
    name, _, argument = base.partition(":")
    if name == "adaptive" and not suffix:
        priced = replace(options, price=_number(argument, text)) if argument else options
        return AdaptivePolicy(priced, name=text, top_n=top_n)
    if suffix not in ("", "own") or (suffix == "" and text.endswith("+")):
        raise _unknown(text)
    frame: Frame = OwnFrame() if suffix else PlainFrame()
    if name in ("popular", "backoff") and not argument:
        return BackoffPolicy(text, frame, is_popular=name == "popular", top_n=top_n)
    return WholePolicy(text, _trigger(name, argument, text, pane_ms, options), frame, top_n)


def _trigger(name: str, argument: str, text: str, pane_ms: int, options: PolicyOptions) -> triggers.Trigger:
    plain: dict[str, Callable[[], triggers.Trigger]] = {
        "never": lambda: triggers.Calendar(0),
        "always": lambda: triggers.Calendar(1),
        "cusum": triggers.HitRateCusum,
        "cara": lambda: triggers.CumulativeStaleness(options.price),
    }
    with_argument: dict[str, Callable[[], triggers.Trigger]] = {
        "every": lambda: triggers.Calendar(_panes(argument, pane_ms, text)),
        "jaccard": lambda: triggers.RawJaccard(_number(argument, text)),
        "cara": lambda: triggers.CumulativeStaleness(_number(argument, text)),
        "budget": lambda: triggers.Budget(int(_number(argument, text)), options.window_panes),
    }
    made = (with_argument if argument else plain).get(name)
    if made is None:
        raise _unknown(text)
    return made()


def _unknown(text: str) -> RequestError:
    return RequestError(f"there is no policy {text!r}", f"Choose one of {NAMES}", place="--policy")


def _number(argument: str, text: str) -> float:
    try:
        value = float(argument)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise RequestError(
            f"{text!r}: {argument!r} is no number from 0 on", "Write it like adaptive:0.1", place="--policy"
        )
    return value


def _panes(argument: str, pane_ms: int, text: str) -> int:
    period_ms = int(argument) * pane_ms if argument.isdecimal() else parse_duration(argument, name="--policy")
    if period_ms < pane_ms or period_ms % pane_ms:
        raise RequestError(
            f"{text!r} is not a whole number of panes", "Choose a multiple of --pane, at least one", place="--policy"
        )
    return period_ms // pane_ms
