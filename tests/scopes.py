"""Which tests stay together where several processes share a run."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_STARTED_ONCE = ("vllm", "kafka")
"""Fixtures of the whole run that are dear to start: one process has all files that ask for them."""


@cache
def scope_of(file: str) -> str:
    """Name the scope of a test file: a fixture that is started once, or the file itself."""
    path = Path(__file__).parents[1] / file
    text = path.read_text() if path.suffix == ".py" else ""
    return next((name for name in _STARTED_ONCE if re.search(rf"\b{name}: [A-Z]", text)), file)


def rank_of(test: str) -> int:
    """Place of a test's scope in the order of scopes: what is started once comes first."""
    scope = scope_of(test.partition("::")[0])
    return _STARTED_ONCE.index(scope) if scope in _STARTED_ONCE else len(_STARTED_ONCE)
