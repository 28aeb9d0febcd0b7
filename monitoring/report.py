"""The HTML report of a run, or of one log under several policies.

One file that asks the network for nothing; the same input writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from monitoring import plots, wording
from monitoring.pages import page_templates
from monitoring.wording import Summary
from tidegate.errors import RequestError
from tidegate.files import write_atomically

_MEANINGS = {
    "counted": "positive, in time, part of its user's sequence",
    "negative": "well formed, but the engagement rule does not hold",
    "malformed": "does not parse, or a mapped value is missing",
    "unknown_cluster": "not in the catalogue, or an item without a cluster",
    "future": "further ahead of the wall clock than the bound",
    "late": "behind the watermark",
}
_SHOWN_ELSEWHERE = {
    *("events", "refreshes", "llm_calls", "incremental_calls", "hit_rate_next", "hit_rate_sequence"),
    *("hit_information_bits", "coverage", "finetune_flags"),
}


def write_report(path: Path, title: str, runs: Mapping[str, Summary], *, story: Sequence[str] = ()) -> None:
    """Write the report of `runs` to `path`, whole or not at all.

    Parameters
    ----------
    path : Path
        Its folder is made where there is none.
    title : str
    runs : mapping of str to summary
        Runs of one log by policy name, each as ``tidegate run --json`` writes it. The report is about ``adaptive``,
        else about the first; the others are what it is compared with.
    story : sequence of str, optional
        Paragraphs after the verdict: what was asked, on which log.

    Raises
    ------
    RequestError
        If `runs` is empty.
    """
    page = render_report(title, runs, story=story)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode())


def render_report(title: str, runs: Mapping[str, Summary], *, story: Sequence[str] = ()) -> str:
    """Compose the page of `write_report`; the same input gives the same text.

    Raises
    ------
    RequestError
        If `runs` is empty.
    """
    if not runs:
        raise RequestError("no run was given, a report is of one or more", "Give the summary of a run", place="runs")
    subject_name = wording.subject_of(runs)
    subject = runs[subject_name]
    drawn = {"hits": plots.hit_rate_svg(runs), "calls": plots.calls_svg(runs), "drift": plots.drift_svg(subject)}
    return (
        page_templates()
        .get_template("report.html.j2")
        .render(
            title=title,
            verdict=wording.verdict(runs),
            story=story,
            runs=runs,
            subject=subject,
            subject_name=subject_name,
            # The drawings are ours and escape what they quote; all else on the page is escaped by the template.
            figures={name: None if svg is None else Markup(svg) for name, svg in drawn.items()},
            meanings=_MEANINGS,
            facts=_facts(subject),
        )
    )


def _facts(run: Summary) -> dict[str, str]:
    """All single values of a summary that the page does not show elsewhere: source, policy, engine, sizes."""
    return {
        key: f"{value:,}" if type(value) is int else str(value)
        for key, value in run.items()
        if key not in _SHOWN_ELSEWHERE and isinstance(value, str | int | float | bool)
    }
