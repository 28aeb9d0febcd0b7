"""A dashboard: rows of panels, the variables above them, marks of what was done over them."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from monitoring.dashboards.panels import SOURCE, View, panel_of

TAG = "tidegate"
RUNBOOKS_AT = "docs/runbooks"
"""Where runbooks lie until somebody says where they are published (variable ``runbooks``)."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    views: tuple[View, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was done, as marks over all panels.

    Attributes
    ----------
    expr : str           a point where it was done, none elsewhere; or when, in ms, where `is_time`
    title, text : str    of a mark, with labels as ``{{label}}``
    """

    name: str
    expr: str
    title: str
    text: str
    colour: str
    is_time: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard.

    Attributes
    ----------
    uid : str             its name in URLs, and of its file
    anchor : str          a metric that every process shows which the dashboard is about
    rows, marks
    """

    uid: str
    title: str
    description: str
    role: str
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...] = ()
    span: str = "now-24h"


def render(board: Board) -> str:
    """Write a dashboard as the JSON that Grafana reads."""
    made = dashboard.Dashboard(board.title).uid(board.uid).description(board.description).tags([TAG])
    made.time(board.span, "now").refresh("30s").timezone("utc").readonly()
    made.tooltip(models.DashboardCursorSync.CROSSHAIR)
    made.link(_others())
    for variable in _variables(board.role):
        made.with_variable(variable)
    made.annotations([_annotation(mark) for mark in board.marks])
    number = 0
    for row in board.rows:
        number += 1
        made.with_row(dashboard.Row(row.title).id(number))
        for view in row.views:
            number += 1
            made.with_panel(panel_of(view, number))
    return JSONEncoder(indent=1, ensure_ascii=False).encode(made.build()) + "\n"


_Variable = dashboard.DatasourceVariable | dashboard.QueryVariable | dashboard.TextBoxVariable


def _variables(role: str) -> tuple[_Variable, ...]:
    of_role = f'role="{role}"' if role else 'role!=""'
    return (
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _labels("run", "Run", f"label_values(tidegate_build_info{{{of_role}}}, run)"),
        _labels("instance", "Instance", f'label_values(tidegate_build_info{{{of_role}, run=~"$run"}}, instance)'),
        dashboard.TextBoxVariable("runbooks").label("Runbooks").default_value(RUNBOOKS_AT),
    )


def _labels(name: str, label: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query)
    everything = models.VariableOption(text="All", value="$__all", selected=True)
    variable.multi(True).include_all(True).all_value(".*").current(everything)
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)


def _others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Tidegate").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).include_vars(True).keep_time(True)


def _annotation(mark: Mark) -> dashboard.AnnotationQuery:
    query = dashboard.AnnotationQuery().name(mark.name).datasource(SOURCE).enable(True).icon_color(mark.colour)
    query.expr(mark.expr).title_format(mark.title).text_format(mark.text)
    return query.use_value_for_time(True) if mark.is_time else query
