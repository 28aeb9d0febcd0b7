"""The arms of a study in words: what fine-tunes and retrieval each bring, and what that costs."""

from __future__ import annotations

from monitoring.study_phrases import Section, judged
from monitoring.wording import Summary, counted, day, decimal, whole

PARTS = {
    "fine_tunes": "Fine-tunes on a calendar, beside retrieval",
    "retrieval": "Retrieval, beside fine-tunes on a calendar",
    "retrieval_own": "The same retrieval with our estimator",
    "estimator": "Our estimator of the lines, at the same calendars",
    "timing": "Refreshing and fine-tuning when it pays, with the same estimator",
}
"""What each part of the hybrid is called."""
_OUTCOMES = {"taken_on": "taken on", "gates_lost": "stopped by gates", "failed": "failed", "too_late": "too late"}


def arms_section(study: Summary) -> Section | None:
    """Say what each arm reached and cost; None where none was played."""
    found = study.get("arms")
    if found is None:
        return None
    arms = found["arms"]
    sentences = [
        arms_verdict(found),
        *(_part_sentence(part, found) for part in PARTS if found["parts"][part] is not None),
        *(_arm_sentence(name, arm) for name, arm in arms.items()),
        *_calendar_sentences(found),
        *_fine_tune_sentences(arms),
        _gpu_sentence(found["gpu"]),
    ]
    return Section(
        "arms",
        "Fine-tunes, retrieval, and both",
        sentences,
        "Fine-tunes monthly, and refreshes by retrieval every few days in between. It gives no costs.",
        "All arms begin with the run's first weights, fine-tuned once on the first window where the gates let that "
        "serve (fine_tune_only without lines, the others alike), and are scored on the same "
        f"{counted(_scored(arms), 'transition')} in {counted(found['panes_scored'], 'pane')}. Differences are paired "
        "by pane; the interval is over panes. A fine-tune is taken on at the next pane if its gates let it pass, as if "
        "a person had approved it at once. GPU-seconds are reckoned, not clocked.",
    )


def arms_verdict(found: Summary) -> str:
    """Sum up: is either half worth its price here, and what does the adaptive arm make of both."""
    parts, arms = found["parts"], found["arms"]
    told = []
    if parts["fine_tunes"] is not None and not _n_taken_on(arms["hybrid_calendar"]):
        told.append(_none_served(arms["hybrid_calendar"], parts["fine_tunes"]))
    elif parts["fine_tunes"] is not None:
        told.append(_worth("Repeated fine-tunes", "retrieval alone is", parts["fine_tunes"]))
    retrieval = parts["retrieval_own"] or parts["retrieval"]
    if retrieval is not None:
        told.append(_worth("Retrieval beside them", "fine-tunes alone are", retrieval))
    if found["subject"] in arms:
        told.append(_subject_clause(found))
    return f"{'. '.join(told) or 'Too few arms were played to part what each half of the hybrid brings'}."


def _none_served(arm: Summary, part: Summary) -> str:
    """Say why no fine-tune of the calendar serves after the start."""
    n_stopped = sum(each["outcome"] == "gates_lost" for each in _later(arm))
    if not n_stopped:
        return "No fine-tune came to serve after the start, so what repeating them brings is not known"
    return (
        f"Repeated fine-tunes: the gates let none of {counted(n_stopped, 'candidate')} serve, so retrieval alone is as "
        f"good here ({part['with']} against {part['without']}, for {seconds_in_words(part['gpu_seconds_later'])} of a "
        "GPU)"
    )


def _worth(half: str, alone: str, part: Summary) -> str:
    """Judge one half: the hits it brings, or that the other alone is as good."""
    gain, seconds = part["hit_rate_next"], part["gpu_seconds_later"]
    price = f"for {seconds_in_words(seconds)} of a GPU" if seconds > 0 else "for no more GPU-seconds"
    against = f"{part['with']} against {part['without']}, {price}"
    if gain is None or gain["margin"] is None:
        return f"{half}: too few panes to tell what they bring ({against})"
    if abs(gain["mean"]) <= gain["margin"]:
        return f"{half}: nothing that is told from noise, so {alone} as good here ({against})"
    if gain["mean"] < 0:
        return f"{half}: {gain['mean']:+.4f} of hit rate, so {alone} better here ({against})"
    caution = ", without more hit information: that is popularity" if part["hit_information_bits"]["mean"] <= 0 else ""
    return f"{half}: {gain['mean']:+.4f} of hit rate{caution} ({against})"


def _subject_clause(found: Summary) -> str:
    """Hold the adaptive arm against the arm that hits most of the others."""
    name, arms = found["subject"], found["arms"]
    ours, others = arms[name], {other: arm for other, arm in arms.items() if other != name}
    spent = seconds_in_words(ours["gpu_seconds"]["later"]["total"])
    said = f"{name} hits {decimal(ours['hit_rate_next'], 4)} for {spent} of a GPU after the start"
    if not others:
        return said
    best = max(others, key=lambda other: float(others[other]["hit_rate_next"]))
    theirs = arms[best]
    less = theirs["less_subject"]["hit_rate_next"]
    same = less is None or less["margin"] is None or abs(less["mean"]) <= less["margin"]
    which = "not told apart from it" if same else ("which is better" if less["mean"] > 0 else "which is worse")
    price = seconds_in_words(theirs["gpu_seconds"]["later"]["total"])
    return f"{said}; the best of the others, {best}, {decimal(theirs['hit_rate_next'], 4)} for {price}, {which}"


def _part_sentence(part: str, found: Summary) -> str:
    gain = found["parts"][part]
    seconds = gain["gpu_seconds_later"]
    cost = f"{seconds_in_words(abs(seconds))} of a GPU {'more' if seconds >= 0 else 'less'} after the start"
    return (
        f"{PARTS[part]} ({gain['with']} against {gain['without']}): hit rate {judged(gain['hit_rate_next'], 'panes')}, "
        f"hit information {judged(gain['hit_information_bits'], 'panes')}, for {cost}."
    )


def _arm_sentence(name: str, arm: Summary) -> str:
    later = _n_taken_on(arm)
    seconds = arm["gpu_seconds"]["later"]
    return (
        f"{name}: hit rate {decimal(arm['hit_rate_next'], 4)} next and {decimal(arm['hit_rate_sequence'], 4)} in the "
        f"sequence, {decimal(arm['hit_information_bits'])} bits, coverage {decimal(arm['coverage'])}; after the start "
        f"{counted(arm['incremental_calls'], 'call')} and {counted(later, 'fine-tune')} taken on, "
        f"{seconds_in_words(seconds['inference'])} of a GPU for inference and {seconds_in_words(seconds['training'])} "
        "for training."
    )


def _calendar_sentences(found: Summary) -> list[str]:
    on_calendar = [name for name, arm in found["arms"].items() if arm["fine_tunes_by"] == "calendar"]
    if not on_calendar or found["calendar_came_due"]:
        return []
    return [
        f"No fine-tune of the calendar came due: it is {found['fine_tune_every']}, and "
        f"{counted(found['panes_scored'], 'pane')} were scored. Give a longer log, or a shorter --fine-tune-every."
    ]


def _fine_tune_sentences(arms: Summary) -> list[str]:
    told = []
    for name, arm in arms.items():
        for outcome in ("gates_lost", "failed", "too_late"):
            which = [each for each in arm["fine_tunes"] if each["outcome"] == outcome]
            if not which:
                continue
            why = "; ".join(f"{day(each['pane_end'])}{_cause(each)}" for each in which)
            told.append(f"{name}: {counted(len(which), 'fine-tune')} {_OUTCOMES[outcome]} ({why}).")
    flagged = [
        f"{day(each['pane_end'])} by {str(each['why']).replace('_', ' ')}"
        for arm in arms.values()
        if arm["fine_tunes_by"] == "flag"
        for each in _later(arm)
    ]
    if any(arm["fine_tunes_by"] == "flag" for arm in arms.values()):
        told.append(f"Flagged for a fine-tune: {', '.join(flagged) or 'never'}.")
    return told


def _cause(made: Summary) -> str:
    if made["gates_lost"]:
        return f": {', '.join(made['gates_lost'])}"
    return f": {made['fault']}" if made["fault"] else ""


def _gpu_sentence(gpu: Summary) -> str:
    training = (
        f"measured at {gpu['train_tokens_per_second']:,.0f} trained tokens a second"
        if gpu["train_tokens_per_second"]
        else f"6 operations a weight and token at {gpu['training_utilisation']:g} of the peak"
    )
    inference = (
        f"measured at {gpu['rows_per_second']:,.0f} rows a second"
        if gpu["rows_per_second"]
        else f"2 operations a weight and token at {gpu['inference_utilisation']:g} of the peak"
    )
    return (
        f"GPU-seconds are of a decoder of {gpu['parameters'] / 1e9:g} billion weights on a GPU of "
        f"{gpu['peak_tflops']:g} TFLOP/s, with prompts of {counted(gpu['prompt_tokens'], 'token')} (the studied "
        f"engine's have {gpu['prompt_tokens_of_engine']}); inference: {inference}; training: {training}."
    )


def _later(arm: Summary) -> list[Summary]:
    """Fine-tunes after the start."""
    return [each for each in arm["fine_tunes"] if each["why"] != "start"]


def _n_taken_on(arm: Summary) -> int:
    return sum(each["outcome"] == "taken_on" for each in _later(arm))


def _scored(arms: Summary) -> int:
    return max(int(arm["scored"]) for arm in arms.values())


def seconds_in_words(seconds: float) -> str:
    """Write a span of GPU time.

    Examples
    --------
    >>> seconds_in_words(0.0123), seconds_in_words(12.3), seconds_in_words(12_345.6)
    ('0.0123 s', '12.3 s', '12,346 s')
    """
    return f"{seconds:,.0f} s" if abs(seconds) >= 1_000 else f"{seconds:.3g} s"


def fine_tunes_in_words(arm: Summary) -> str:
    """Count an arm's fine-tunes after the start, taken on and in all."""
    return f"{_n_taken_on(arm)} of {whole(len(_later(arm)))}"


def outcome_in_words(made: Summary) -> str:
    """Say what became of a fine-tune, and why."""
    return f"{_OUTCOMES[made['outcome']]}{_cause(made)}"
