"""How pages of reports are made of templates: all text is escaped, what is absent shows as a dash."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from monitoring import wording
from monitoring.wording import ABSENT, Summary


@cache
def page_templates() -> Environment:
    """Templates of this package, with the filters that figures are written by."""
    environment = Environment(
        loader=PackageLoader("monitoring"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    environment.filters.update(
        counted=_counted,
        day=wording.day,
        decimal=wording.decimal,
        reasons=_reasons,
        thousands=_thousands,
        whole=wording.whole,
        words=_words,
    )
    return environment


def _shown(value: Any) -> Any:
    """Show absent values as a dash and text of logs without its control characters."""
    if value is None:
        return ABSENT
    return wording.printable(value) if type(value) is str else value


def _counted(n: int, noun: str, plural: str | None = None) -> str:
    return f"{wording.whole(n)} {plural}" if plural and n != 1 else wording.counted(n, noun)


def _thousands(value: float | None) -> str:
    return ABSENT if value is None else wording.whole(round(value))


def _words(name: str | None) -> str:
    return ABSENT if name is None else name.replace("_", " ")


def _reasons(pane: Summary) -> str:
    """List the reasons of an order's rows; a calendar names no rows, so its trigger is the reason."""
    listed = ", ".join(f"{_words(reason)} ({n:,})" for reason, n in pane["reasons"].items())
    return listed or _words(pane["trigger"])
