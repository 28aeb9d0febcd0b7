"""The HTML report of a study: the paper's measurements, made on one log.

One file that asks the network for nothing; the same input writes the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from monitoring import study_arm_plots as arm_plots
from monitoring import study_plots as plots
from monitoring import study_wording as wording
from monitoring.pages import page_templates
from monitoring.study_tables import tables_of
from monitoring.wording import Summary
from tidegate.files import write_atomically

_CAPTIONS = {
    "adjacent": "Mean Jaccard of each window's top-5 sets and those of the window before it. Where matched counts and "
    "no drift agree, a low Jaccard says how thin pairs are, not that interests moved.",
    "trajectories": "Next-hit rate by pane; a gap is a pane without a scored transition.",
    "persistence": "Above: pairs whose ordered top k is still the first window's. Below: the same for the top "
    "successor between two halves of the users. Where half stays at the floor, nothing has drifted.",
    "comparison": "Bars are 95 % intervals over users.",
    "retrieval": "Bars are 95 % intervals over users.",
    "arms": "Above: next-hit rate by pane; a star marks the pane at whose end new weights answer all rows anew: "
    "the next pane is scored with them. Below: hit rate over all panes, by what the arm takes of a GPU after the "
    "start.",
}
_SHOWN_ELSEWHERE = {"refreshed_every"}


def write_study(path: Path, study: Summary) -> None:
    """Write the report of ``tidegate study`` to `path`, whole or not at all; its folder is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, render_study(study).encode())


def render_study(study: Summary) -> str:
    """Compose the page of `write_study`, from what ``tidegate study --json`` writes."""
    drawn = {
        "adjacent": plots.adjacent_svg(study),
        "trajectories": plots.trajectories_svg(study),
        "persistence": plots.persistence_svg(study),
        "comparison": plots.comparison_svg(study),
        "retrieval": plots.retrieval_svg(study),
        "arms": arm_plots.arms_svg(study),
    }
    return (
        page_templates()
        .get_template("study.html.j2")
        .render(
            title=f"Study of {study['source']}",
            size=wording.size_sentence(study),
            verdict=wording.verdict(study),
            sections=wording.sections(study),
            tables=tables_of(study),
            # The drawings are ours and escape what they quote; all else on the page is escaped by the template.
            figures={name: Markup(svg) for name, svg in drawn.items() if svg is not None},
            captions=_CAPTIONS,
            facts=_facts(study),
        )
    )


def _facts(study: Summary) -> dict[str, str]:
    """All single values of a study that the page does not show elsewhere: source, engine, sizes, outcomes."""
    facts = {
        key: f"{value:,}" if type(value) is int else str(value)
        for key, value in study.items()
        if key not in _SHOWN_ELSEWHERE and isinstance(value, str | int | float | bool)
    }
    facts.update((f"records {outcome}", f"{n:,}") for outcome, n in study["outcomes"].items())
    model = study["model"] or {}
    facts.update((f"model {key}", str(value)) for key, value in model.items() if value is not None)
    return facts
