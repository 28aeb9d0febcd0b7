"""What the model was asked for and what that cost: by day of the windows' ends, and by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from monitoring.console import words
from monitoring.console.facts import AlertFacts, PaneFacts, Prices


@dataclass(slots=True)
class Line:
    """One line of the bill.

    Attributes
    ----------
    n_orders : int
    n_calls : float            rows that the engine was asked for; not whole where an order's calls are shared out
    n_reused : int             rows whose answer was known
    prompt_tokens, output_tokens : int
    n_untold_calls : int       calls of engines that do not tell tokens
    seconds : float            from the order to its result
    """

    name: str
    n_orders: int = 0
    n_calls: float = 0
    n_reused: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    n_untold_calls: int = 0
    seconds: float = 0.0

    def cost(self, prices: Prices) -> float | None:
        """Estimate what the line cost; None where no price is known, or the price is of tokens that nobody told."""
        if prices.per_call is not None:
            return self.n_calls * prices.per_call
        if prices.per_million_tokens is None or self.n_untold_calls:
            return None
        return (self.prompt_tokens + self.output_tokens) * prices.per_million_tokens / 1e6

    @property
    def tells_tokens(self) -> bool:
        """Whether the tokens are those of all calls."""
        return not self.n_untold_calls


@dataclass(frozen=True, slots=True)
class Bill:
    """Lines by day (the newest first) and by reason (the dearest first), and their sum."""

    days: Sequence[Line]
    reasons: Sequence[Line]
    total: Line
    recent: Line = field(default_factory=lambda: Line("last 7 days"))


def bill_of(asked: Iterable[PaneFacts | AlertFacts], recent_days: int = 7) -> Bill:
    """Add up what panes and alerts had the model asked for.

    An order's calls are shared out over its reasons by the rows of each: which of them were known is not recorded.
    """
    days: dict[str, Line] = {}
    reasons: dict[str, Line] = {}
    total = Line("all")
    for pane in asked:
        if pane.result is None or not (pane.result.llm_calls or pane.result.reused or pane.order):
            continue
        day = words.day_of(pane.end_ms)
        _add(days.setdefault(day, Line(day)), pane, 1.0)
        _add(total, pane, 1.0)
        for reason, share in _shares(pane).items():
            _add(reasons.setdefault(reason, Line(words.reason(reason))), pane, share)
    newest = sorted(days.values(), key=lambda line: line.name, reverse=True)
    recent = Line(f"last {recent_days} days with orders")
    for line in newest[:recent_days]:
        _merge(recent, line)
    return Bill(newest, sorted(reasons.values(), key=lambda line: -line.n_calls), total, recent)


def _shares(pane: PaneFacts | AlertFacts) -> dict[str, float]:
    asked = Counter(dict(pane.order.reasons)) if pane.order else Counter[str]()
    n_rows = asked.total()
    if n_rows:
        return {reason: n / n_rows for reason, n in asked.items() if n}
    return {pane.order.trigger if pane.order else "retired": 1.0}


def _add(line: Line, pane: PaneFacts | AlertFacts, share: float) -> None:
    result = pane.result
    assert result is not None
    line.n_orders += 1
    line.n_calls += result.llm_calls * share
    line.n_reused += round(result.reused * share)
    line.seconds += result.duration_seconds * share
    prompt, output = result.prompt_tokens, result.output_tokens
    if prompt is None:
        line.n_untold_calls += result.llm_calls
    else:
        line.prompt_tokens += round(prompt * share)
        line.output_tokens += round((output or 0) * share)


def _merge(into: Line, line: Line) -> None:
    into.n_orders += line.n_orders
    into.n_calls += line.n_calls
    into.n_reused += line.n_reused
    into.seconds += line.seconds
    into.prompt_tokens += line.prompt_tokens
    into.output_tokens += line.output_tokens
    into.n_untold_calls += line.n_untold_calls
