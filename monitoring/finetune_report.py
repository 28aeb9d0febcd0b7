"""The HTML report of a fine-tune's training: what it learnt, where it stopped, from what.

One file that asks the network for nothing; the same record writes the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from monitoring import finetune_plots as plots
from monitoring.pages import page_templates
from tidegate.contracts import FineTuneReport
from tidegate.files import write_atomically

_CAPTIONS = {
    "recall": "Share of samples of the validation users whose target is the first answer. It peaks, and falls where "
    "the samples are learnt by heart: the candidate has the weights of the peak.",
    "loss": "Mean loss of the answer's tokens. Validation users teach nothing; where their loss rises while that of "
    "batches falls, the samples are being learnt by heart.",
}
_HEADINGS = {"recall": "Recall of users that were kept", "loss": "Loss"}
_NOT_FACTS = {"kind", "n_taught", "losses", "reading_losses", "checks", "recipe"}


def write_finetune(path: Path, report: FineTuneReport) -> None:
    """Write the report of a training to `path`, whole or not at all; its folder is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, render_finetune(report).encode())


def render_finetune(report: FineTuneReport) -> str:
    """Compose the page of `write_finetune`."""
    drawn = {"recall": plots.recall_svg(report), "loss": plots.loss_svg(report)}
    return (
        page_templates()
        .get_template("finetune.html.j2")
        .render(
            title=f"Fine-tune {report.candidate[:12]}",
            verdict=verdict(report),
            levels=_levels(report),
            # The drawings are ours and escape what they quote; all else on the page is escaped by the template.
            figures={name: Markup(svg) for name, svg in drawn.items() if svg is not None},
            headings=_HEADINGS,
            captions=_CAPTIONS,
            checks=report.checks,
            best_step=report.best_step,
            facts=_facts(report),
        )
    )


def verdict(report: FineTuneReport) -> list[str]:
    """Say in sentences what the training came to."""
    against = (
        f"the weights before answer {report.base_recall:.1%}"
        if report.base_recall is not None
        else f"it began from nothing: {report.why_from_nothing}"
    )
    ended = (
        "recall no longer rose, and the loss no longer fell"
        if report.ended_by == "patience"
        else "all passes were made"
    )
    return [
        f"The new weights answer {report.recall:.1%} of transitions of users they never saw; {against}.",
        f"The retrieved line alone answers {report.line_recall:.1%}, the most popular cluster "
        f"{report.popular_recall:.1%}, chance {report.chance:.2%}.",
        f"Trained on {report.n_taught:,} samples in {len(report.losses):,} steps; it ended as {ended}. Recall was best "
        f"at step {report.best_step:,}.",
    ]


def _levels(report: FineTuneReport) -> list[tuple[str, float | None]]:
    return [
        ("the candidate", report.recall),
        ("the candidate, by traffic", report.traffic_recall),
        ("the weights before", report.base_recall),
        ("the retrieved line", report.line_recall),
        ("the most popular cluster", report.popular_recall),
        ("chance", report.chance),
        ("random lines copied (share)", report.copy_accuracy),
    ]


def _facts(report: FineTuneReport) -> dict[str, str]:
    """All single values of the record, and the recipe."""
    facts = {name: _shown(getattr(report, name)) for name in report.__struct_fields__ if name not in _NOT_FACTS}
    return facts | {f"recipe {name}": _shown(value) for name, value in report.recipe.items()}


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if type(value) is int:
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
