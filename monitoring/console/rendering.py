"""Pages from templates: all text escaped, an entity tag on each, an empty answer where nothing has changed."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from jinja2 import Environment
from starlette.responses import Response

from monitoring.console import words
from monitoring.pages import page_templates
from monitoring.wording import ABSENT

NAVIGATION = (
    ("/", "Overview"),
    ("/drift", "Drift"),
    ("/decisions", "Decisions"),
    ("/tables", "Tables"),
    ("/orders", "Orders"),
    ("/fine-tunes", "Fine-tunes"),
    ("/bill", "LLM bill"),
    ("/roles", "Roles"),
)


@cache
def console_templates() -> Environment:
    """Templates of the console: those of reports, with the words of `monitoring.console.words`."""
    environment = page_templates().overlay()
    environment.filters = {
        **environment.filters,
        "chance": words.chance,
        "day_of": words.day_of,
        "decimal": words.decimal,
        "duration": words.duration,
        "figure": words.figure,
        "flag_words": words.flag,
        "gate": words.gate,
        "input_name": words.input_name,
        "instant": words.instant,
        "money": _money,
        "outcome": words.outcome,
        "p_value": words.p_value,
        "percent": _percent,
        "reason": words.reason,
        "spaced": lambda text: text if text is None else text.replace("_", " "),
    }
    environment.globals = {**environment.globals, "navigation": NAVIGATION}
    return environment


def page(template: str, if_none_match: str | None = None, status: int = 200, **context: Any) -> Response:
    """Render a page, or answer 304 where the reader has it already."""
    body = console_templates().get_template(f"console/{template}.html.j2").render(**context).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "no-store"}
    if status == 200 and if_none_match is not None and tag in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type="text/html; charset=utf-8")


def _percent(value: float | None, places: int = 1) -> str:
    return ABSENT if value is None else f"{100 * value:.{places}f} %"


def _money(value: float | None, currency: str = "") -> str:
    if value is None:
        return ABSENT
    shown = f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.3g}"
    return f"{shown} {currency}".strip()
