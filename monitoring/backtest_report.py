"""The HTML report of a backtest: what each policy would have brought and cost on one log.

One file that asks the network for nothing; the same input writes the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from monitoring import backtest_plots as plots
from monitoring import backtest_wording as wording
from monitoring.backtest_cautions import cautions, support, window_panes
from monitoring.backtest_frontier import frontier_svg
from monitoring.backtest_kinds import HEADINGS, Kind, by_kind, described, kind_of, subject_of
from monitoring.pages import page_templates
from monitoring.wording import Summary, difference
from tidegate.errors import RequestError
from tidegate.files import write_atomically

_SHOWN_ELSEWHERE = {"windows_alarmed"}


def write_backtest_report(path: Path, summary: Summary) -> None:
    """Write the report of ``tidegate backtest`` to `path`, whole or not at all.

    Parameters
    ----------
    path : Path
        Its folder is made where there is none.
    summary : summary
        As ``tidegate backtest --json`` writes it. The report is about ``adaptive``, or the price next to the
        backtest's own; the other policies are what it is compared with.

    Raises
    ------
    RequestError
        If it compares no policy.
    """
    page = render_backtest_report(summary)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode())


def render_backtest_report(summary: Summary) -> str:
    """Compose the page of `write_backtest_report`; the same input gives the same text.

    Raises
    ------
    RequestError
        If it compares no policy.
    """
    if not summary["policies"]:
        raise RequestError("no policy was compared", "Name one or more with --policies", place="--policies")
    subject = subject_of(summary)
    return (
        page_templates()
        .get_template("backtest.html.j2")
        .render(
            title=f"Backtest of {summary['source']}",
            verdict=wording.verdict(summary),
            cautions=cautions(summary),
            own_note=wording.own_note(summary),
            summary=summary,
            runs=summary["policies"],
            subject=subject,
            groups=[(HEADINGS[kind], names) for kind, names in by_kind(summary["policies"]).items()],
            paired=_paired(summary, subject),
            described={name: described(name) for name in summary["policies"]},
            figures=_figures(summary, subject),
            facts=_facts(summary),
            has_oracle=any(kind_of(name) is Kind.ORACLE for name in summary["policies"]),
        )
    )


def _figures(summary: Summary, subject: str | None) -> dict[str, Markup | None]:
    drawn = {
        "frontier": frontier_svg(summary),
        "hits": plots.hits_svg(summary, subject),
        "information": plots.information_svg(summary, subject),
        "entropy": plots.entropy_svg(summary, subject),
        "calls": plots.calls_svg(summary),
        "drift": plots.drift_svg(summary),
        "purchases": None if subject is None else plots.purchases_svg(summary, subject),
    }
    # The drawings are ours and escape what they quote; all else on the page is escaped by the template.
    return {name: None if svg is None else Markup(svg) for name, svg in drawn.items()}


def _paired(summary: Summary, subject: str | None) -> dict[str, dict[str, str]]:
    """By policy, what the subject has less that policy; empty where there is no subject, or nothing else."""
    runs = summary["policies"]
    if subject is None:
        return {}
    ours = runs[subject]
    return {
        name: {
            **{each: wording.margin_in_words(difference(ours, run, each)) for each in ("hits_next", "hit_bits")},
            **{each: f"{round(ours[each] - run[each]):+,}" for each in ("incremental_calls", "cost")},
        }
        for name, run in runs.items()
        if name != subject
    }


def _facts(summary: Summary) -> dict[str, str]:
    """All single values of a summary that the page does not show elsewhere, and what follows from them."""
    facts: dict[str, Any] = {
        key: value
        for key, value in summary.items()
        if key not in _SHOWN_ELSEWHERE and isinstance(value, str | int | float | bool)
    }
    facts["window_panes"] = window_panes(summary)
    mean = support(summary)
    if mean is not None:
        facts["transitions_per_pair_and_window"] = f"{mean:.1f}"
    facts.update((f"records_{outcome}", n) for outcome, n in summary["outcomes"].items())
    return {key: f"{value:,}" if type(value) is int else str(value) for key, value in facts.items()}
