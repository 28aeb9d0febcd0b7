"""A study in words: what each section found, what the paper reports of the same, and how sure that is."""

from __future__ import annotations

from monitoring.study_of_arms import arms_section
from monitoring.study_of_counts import adjacent_section, persistence_section, trajectories_section
from monitoring.study_of_model import comparison_section, repetition_section, retrieval_section
from monitoring.study_phrases import Section
from monitoring.wording import Summary, counted, whole


def sections(study: Summary) -> list[Section]:
    """Put a study into words, section by section."""
    arms = arms_section(study)
    return [
        adjacent_section(study),
        trajectories_section(study),
        persistence_section(study),
        repetition_section(study),
        comparison_section(study),
        retrieval_section(study),
        *([] if arms is None else [arms]),
    ]


def verdict(study: Summary) -> list[str]:
    """Sum a study up: drift, what a refresh brings, what the model adds, what to retrieve, what arms bring."""
    told = {section.name: section.found for section in sections(study)}
    of_arms = told.get("arms", [])[:1]
    return [told["adjacent"][1], told["trajectories"][0], told["comparison"][1], told["retrieval"][:2][-1], *of_arms]


def size_sentence(study: Summary) -> str:
    """Say what was studied."""
    return (
        f"{whole(study['transitions'])} transitions of {counted(study['pairs'], 'pair')} and "
        f"{counted(study['clusters'], 'cluster')} in {counted(study['panes'], 'pane')} of {study['pane']}, "
        f"{study['windows']} full windows of {study['window']}."
    )
