"""A refresh by hand on the terminal: what it would take, or what it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_estimate(console: Console, found: Mapping[str, Any]) -> None:
    """Show an estimate (`tidegate refresh --dry-run`)."""
    _print(console, f"What refreshing {found['ordered']} rows would take", _estimated(found))


def print_refresh(console: Console, found: Mapping[str, Any]) -> None:
    """Show the report of a refresh."""
    _print(console, f"Refresh of {found['ordered']} rows: {found['outcome'].replace('_', ' ')}", _carried_out(found))


def _print(console: Console, title: str, lines: Iterator[tuple[str, str]]) -> None:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=False)
    table.add_column()
    table.add_column()
    for name, value in lines:
        table.add_row(Text(name), Text(value))
    console.print(table)


def _estimated(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "window", f"{found['window_start']} to {found['window_end']}"
    yield "engine", str(found["engine"])
    yield "rows", _count(found["rows"])
    yield "known rows, no call", _count(found["rows_known"])
    yield "calls", _count(found["llm_calls"])
    finished = found["chunks_finished"]
    yield "chunks", _count(found["chunks"]) + (f", {finished:,} of them finished" if finished else "")
    yield "prompt tokens", _count(found["prompt_tokens"])
    yield "of them from cache", _share(found["cached_share"])
    yield "rate", _rate(found)
    yield "time with one worker", _duration(found["seconds"])
    if found["cost"] is not None:
        yield "cost", f"{found['cost']:,.4g} (all tokens at the full price)"
    if found["needs_training"]:
        yield "note", "there is no model yet: the refresh trains one first; give --model, or --rate for a time"


def _carried_out(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    published = "published" if found["is_published"] else "serves as before"
    yield "table version", f"{found['table_version'] or '–'} ({published})"
    yield "window", f"{found['window_start']} to {found['window_end']}"
    yield "engine", str(found["engine"])
    yield "rows", f"{found['rows']:,}, {found['rows_known']:,} of them known"
    yield "calls", _count(found["llm_calls"])
    yield "rows changed", _count(found["rows_changed"])
    faults = ", ".join(f"{n:,} {fault.replace('_', ' ')}" for fault, n in found["faults"].items())
    yield "invalid outputs", _count(found["rows_invalid"]) + (f" ({faults})" if faults else "")
    yield (
        "chunks",
        f"{found['chunks']:,}: {found['chunks_inferred']:,} inferred here, {found['chunks_of_others']:,} by other"
        f" workers, {found['chunks_resumed']:,} from before",
    )
    if found["prompts"]:
        yield "prompts", _count(found["prompts"])
        yield "prompt tokens", f"{found['prompt_tokens']:,}, {_share(found['cached_share'])} from cache"
    yield "time", f"{_duration(found['seconds'])}, {_duration(found['inference_seconds'])} of it inference"
    rate = found["rows_per_second"]
    yield "rate", "–" if rate is None else f"{rate:,.0f} rows/s"
    for gate in found["gates"]:
        if not gate["is_passed"]:
            yield f"gate {gate['gate'].replace('_', ' ')}", f"FAILED: {gate['sentence']}"
    if found["candidate"] is not None:
        yield "kept aside as", f"candidate {found['candidate']}, for a person to look at"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _rate(found: Mapping[str, Any]) -> str:
    if found["rows_per_second"] is None:
        return "–"
    source = f"measured on {found['probe_rows']:,} rows" if found["probe_rows"] else "as given"
    return f"{found['rows_per_second']:,.0f} rows/s, {source}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
