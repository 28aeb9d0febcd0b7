"""One panel: what it says, and how Grafana is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED, BLUE, PURPLE = "green", "yellow", "red", "blue", "purple"
_LETTERS = "ABCDEFGH"
_Panel = timeseries.Panel | stat.Panel | table.Panel


class Kind(Enum):
    """How a panel shows its series."""

    LINES = "timeseries"
    NUMBER = "stat"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, and the name of each series that it finds."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What a panel shows.

    Attributes
    ----------
    title, description : str
    unit : str                  one of Grafana's: ``percentunit``, ``s``, ``short``, ``ops`` …
    queries : tuple of Query
    kind : Kind
    steps                       (value, colour) from where a value is that colour; the first holds from minus infinity
    runbook : str               page of docs/runbooks that says what to do, without its suffix
    width, height : int         of 24 columns, and in Grafana's rows; 0: as usual for its kind
    least, most : float, optional   where the axis begins and ends
    absent : str                what stands there while there is no value
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    steps: tuple[tuple[float | None, str], ...] = ((None, GREEN),)
    runbook: str = ""
    width: int = 0
    height: int = 0
    least: float | None = 0.0
    most: float | None = None
    absent: str = "not yet"


def panel_of(view: View, number: int) -> _Panel:
    """Make the panel.

    Parameters
    ----------
    number : int    its id in the dashboard

    Raises
    ------
    ValueError
        If it has more queries than letters to name them.
    """
    panel = _plain(view.kind)
    width, height = (4, 4) if view.kind is Kind.NUMBER else (8, 8)
    panel.id(number).title(view.title).description(view.description).datasource(SOURCE)
    panel.span(view.width or width).height(view.height or height)
    panel.unit(view.unit).no_value(view.absent)
    if view.least is not None:
        panel.min(view.least)
    if view.most is not None:
        panel.max(view.most)
    steps = [models.Threshold(value, colour) for value, colour in view.steps]
    panel.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    if view.runbook:
        panel.links([link("What to do", runbook_url(view.runbook))])
    for letter, query in zip(_LETTERS[: len(view.queries)], view.queries, strict=True):
        panel.with_target(_target(query, letter, view.kind))
    return panel


def runbook_url(page: str) -> str:
    """Where a runbook is read: the variable says where they lie."""
    return f"${{runbooks}}/{page}.md"


def link(title: str, url: str) -> dashboard.DashboardLink:
    """Make a link that opens beside the dashboard."""
    return dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).target_blank(True)


def _plain(kind: Kind) -> _Panel:
    if kind is Kind.NUMBER:
        last = common.ReduceDataOptions().calcs(["lastNotNull"])
        return stat.Panel().reduce_options(last).graph_mode(common_models.BigValueGraphMode.AREA)
    if kind is Kind.TABLE:
        return table.Panel()
    legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
    legend.display_mode(common_models.LegendDisplayMode.LIST).calcs([])
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    style = common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED)
    panel = timeseries.Panel().legend(legend).tooltip(tooltip).thresholds_style(style).line_width(1).fill_opacity(10)
    # A gauge that is set once a window must not look like a row of dots.
    return panel.show_points(common_models.VisibilityMode.NEVER).span_nulls(False)


def _target(query: Query, letter: str, kind: Kind) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(letter).expr(query.expr).datasource(SOURCE)
    if query.legend:
        target.legend_format(query.legend)
    if kind is Kind.TABLE:
        return target.format(PromQueryFormat.TABLE).instant()
    return target.range()
