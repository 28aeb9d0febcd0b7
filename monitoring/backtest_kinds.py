"""What policies of a backtest are, by their names: which kind, and what each does in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from monitoring.wording import Summary

OWN = "+own"


class Kind(StrEnum):
    """How a policy comes to its calls; the order is that of the report."""

    ADAPTIVE = "adaptive"
    FREE = "free"
    CALENDAR = "calendar"
    TRIGGER = "trigger"
    OWN = "own"
    ORACLE = "oracle"


HEADINGS: Mapping[Kind, str] = {
    Kind.ADAPTIVE: "Adaptive: the rows that pay",
    Kind.FREE: "No call after the first table",
    Kind.CALENDAR: "On a calendar, plain counts",
    Kind.TRIGGER: "When a detector or a budget says so, plain counts",
    Kind.OWN: "The same with our estimator and backoff (+own)",
    Kind.ORACLE: "In hindsight",
}
_FREE = ("never", "popular", "backoff")
_CALENDARS = ("every", "always")


def kind_of(name: str) -> Kind:
    """Kind of a policy.

    Examples
    --------
    >>> [str(kind_of(name)) for name in ("adaptive:0.1", "backoff+own", "every:2d", "every:2d+own", "cusum")]
    ['adaptive', 'free', 'calendar', 'own', 'trigger']
    """
    base = base_of(name)
    if base in ("adaptive", "oracle"):
        return Kind(base)
    if base in _FREE:
        return Kind.FREE
    if is_own(name):
        return Kind.OWN
    return Kind.CALENDAR if base in _CALENDARS else Kind.TRIGGER


def base_of(name: str) -> str:
    """Name without argument and suffix.

    Examples
    --------
    >>> base_of("every:2d+own")
    'every'
    """
    return name.partition("+")[0].partition(":")[0]


def is_own(name: str) -> bool:
    """Whether a baseline is given our estimator and backoff."""
    return name.endswith(OWN)


def by_kind(names: Iterable[str]) -> dict[Kind, list[str]]:
    """Group names, kinds in the order of the report and names in the order they came in; no kind is empty."""
    grouped: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for name in names:
        grouped[kind_of(name)].append(name)
    return {kind: members for kind, members in grouped.items() if members}


def subject_of(summary: Summary) -> str | None:
    """Name of the policy that a report is about: ``adaptive``, else the one at the backtest's price or nearest to it.

    None where no adaptive policy took part.
    """
    names = [name for name in summary["policies"] if kind_of(name) is Kind.ADAPTIVE]
    return min(names, key=lambda name: abs(price_of(name, summary) - summary["price"]), default=None)


def price_of(name: str, summary: Summary) -> float:
    """Price that an adaptive policy was given, by its name or by ``--price``: misses that one call must save."""
    argument = name.partition(":")[2]
    return float(argument) if argument else float(summary["price"])


def described(name: str) -> str:
    """Say what a policy does.

    Examples
    --------
    >>> described("always")
    'asks for every pair of the window anew at the end of each pane'
    """
    said = _DESCRIPTIONS.get(base_of(name), "a policy that this report has no words for")
    argument = name.partition("+")[0].partition(":")[2]
    said = said.format(argument=_argument(base_of(name), argument))
    if not is_own(name):
        return said
    return f"{said}; with our estimator and backoff, and no second call for what was asked before"


def _argument(base: str, argument: str) -> str:
    if base == "every" and argument.isdecimal():
        return "pane" if argument == "1" else f"{argument} panes"
    if base in ("adaptive", "cara"):
        return f"{argument} misses" if argument else "the price of the backtest"
    return argument


_DESCRIPTIONS = {
    "adaptive": "buys the rows whose expected regained hits exceed the price of a call ({argument}), "
    "keeps the backoff fresh from the counts",
    "never": "infers its first table and holds it",
    "popular": "answers everybody with the one cluster that followed most often in the window; no call",
    "backoff": "answers by the second interest alone, from the window's counts; no call",
    "always": "asks for every pair of the window anew at the end of each pane",
    "every": "asks for every pair of the window anew every {argument}, as the paper does every few days",
    "jaccard": "asks for every pair anew when the raw mean top-5 Jaccard falls below {argument}",
    "cusum": "asks for every pair anew when the served hit rate falls below its level (CUSUM)",
    "cara": "asks for every pair anew once hits lost to staleness add up to its cost "
    "(cost-aware retraining, arXiv 2310.04216; price of a call: {argument})",
    "budget": "asks for every pair anew when {argument} calls a window, saved up, suffice and the table is stale "
    "(scheduling on a budget, Verachtert 2023)",
    "oracle": "knows all that is to come and spends what costs least in hindsight; no policy can do better",
}
