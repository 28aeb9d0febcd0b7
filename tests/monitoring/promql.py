"""What a PromQL expression asks for, found in its syntax tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser

OVER_COUNTERS = {"rate", "increase", "irate"}
_PARTS = ("lhs", "rhs", "expr", "param", "args", "vector_selector")


@dataclass(frozen=True)
class Selected:
    """A metric that an expression selects, and what is around it, outermost first: functions and aggregations."""

    name: str
    matchers: dict[str, str]
    around: tuple[str, ...]


def with_values(expr: str, rate_interval: str = "1m", time_range: str = "1h") -> str:
    """Put values in place of Grafana's variables: everything is chosen."""
    values = {"$__rate_interval": rate_interval, "$__range": time_range, "$run": ".*", "$instance": ".*"}
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    return expr


def selected(expr: str) -> list[Selected]:
    """List what an expression selects; ValueError where it does not parse."""
    return list(_selected(promql_parser.parse(with_values(expr)), ()))


def grouped(expr: str) -> set[str]:
    """Labels by which anything in an expression is grouped or joined."""
    found: set[str] = set()
    for node, _ in _nodes(promql_parser.parse(with_values(expr)), ()):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
            found |= set(modifier.labels)
    return found


def _selected(tree: Any, around: tuple[str, ...]) -> Iterator[Selected]:
    for node, path in _nodes(tree, around):
        if isinstance(node, promql_parser.VectorSelector):
            yield Selected(node.name, {m.name: m.value for m in node.matchers.matchers}, path)


def _nodes(node: Any, around: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    yield node, around
    if isinstance(node, promql_parser.Call):
        around = (*around, node.func.name)
    elif isinstance(node, promql_parser.AggregateExpr):
        around = (*around, str(node.op))
    for name in _PARTS:
        part = getattr(node, name, None)
        for child in part if isinstance(part, list) else [part]:
            if child is not None:
                yield from _nodes(child, around)
