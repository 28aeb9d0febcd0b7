"""What a dashboard must show to be of use, as rules over its JSON; each names what breaks it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from tests.monitoring import documented
from tests.monitoring.promql import OVER_COUNTERS, grouped, selected

RUNBOOKS = documented.ROOT / "docs" / "runbooks"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_NOT_OF_A_RUN = {"ALERTS", "up"}


def broken(dashboard: dict[str, Any]) -> list[str]:
    """List what breaks a rule, as ``PANEL: why``."""
    found = [f"dashboard: {why}" for why in _broken_frame(dashboard)]
    for panel in panels_of(dashboard):
        found += [f"{panel['title']}: {why}" for why in itertools.chain(_broken_look(panel), _broken_queries(panel))]
    for mark in dashboard["annotations"]["list"]:
        found += [f"mark {mark['name']}: {why}" for why in _broken_expr(mark["expr"])]
    return found


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Panels without the rows' headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def _broken_frame(dashboard: dict[str, Any]) -> Iterator[str]:
    variables = [variable["name"] for variable in dashboard["templating"]["list"]]
    if variables[:3] != ["datasource", "run", "instance"]:
        yield f"its variables are {variables}"
    numbers = [panel["id"] for panel in dashboard["panels"]]
    if len(set(numbers)) < len(numbers) or 0 in numbers:
        yield "panels share a number"
    cells = [cell for panel in dashboard["panels"] for cell in _cells(panel["gridPos"])]
    if len(set(cells)) < len(cells) or any(x >= 24 for x, _ in cells):
        yield "panels overlap, or lie outside of the grid"


def _cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x, y in itertools.product(range(place["w"]), range(place["h"])):
        yield place["x"] + x, place["y"] + y


def _broken_look(panel: dict[str, Any]) -> Iterator[str]:
    shown = panel["fieldConfig"]["defaults"]
    for name, value in (("description", panel.get("description")), ("unit", shown.get("unit"))):
        if not value:
            yield f"it has no {name}"
    if panel["datasource"] != _SOURCE or any(target["datasource"] != _SOURCE for target in panel["targets"]):
        yield "its data source is not the variable's"
    values = [step["value"] for step in shown["thresholds"]["steps"]]
    if values[0] is not None or values[1:] != sorted(values[1:]):
        yield f"its thresholds do not ascend: {values}"
    for link in panel.get("links", []):
        page = link["url"].removeprefix("${runbooks}/")
        if not (RUNBOOKS / page).is_file():
            yield f"there is no runbook {page}"


def _broken_queries(panel: dict[str, Any]) -> Iterator[str]:
    if not panel["targets"]:
        yield "it has no query"
    for target in panel["targets"]:
        yield from _broken_expr(target["expr"])
        legend = target.get("legendFormat", "")
        if not legend and panel["type"] != "table":
            yield f"{target['expr']} has no legend"
        unbounded = set(re.findall(r"{{(\w+)}}", legend)) - documented.labels()
        if unbounded:
            yield f"its legend may take any value of {unbounded}"


def _broken_expr(expr: str) -> Iterator[str]:
    try:
        found = selected(expr)
    except ValueError as error:
        yield f"{expr} does not parse: {error}"
        return
    types = documented.types()
    for one in found:
        if one.name not in types:
            yield f"there is no metric {one.name}"
            continue
        is_counted = bool(OVER_COUNTERS & set(one.around))
        if is_counted != (types[one.name] == "counter"):
            yield f"{one.name} is a {types[one.name]}, and {'is' if is_counted else 'is not'} taken as a rate"
        is_joined = one.name.endswith("_info")
        wanted = {"run"} if one.name.startswith("run:") else {"run", "instance"}
        if one.name not in _NOT_OF_A_RUN and not is_joined and not wanted <= one.matchers.keys():
            yield f"{one.name} does not follow the variables"
    if grouped(expr) - documented.labels():
        yield f"it groups by {grouped(expr) - documented.labels()}, which may take any value"
    if "histogram_quantile" in expr and "le" not in grouped(expr):
        yield "its quantile is of buckets that are not kept apart"
