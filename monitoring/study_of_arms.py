"""The arms of a study in words: what fine-tunes and retrieval each bring, and what that costs."""

from __future__ import annotations

from monitoring.study_phrases import Section, judged
from monitoring.wording import Summary, counted, day, decimal, whole

PARTS = {
    "fine_tunes": "Fine-tunes on a calendar, beside retrieval",
    "retrieval": "Retrieval, beside fine-tunes on a calendar",
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
        "All arms begin with the same weights, fine-tuned once on the first window, and are scored on the same "
        f"{counted(_scored(arms), 'transition')} in {counted(found['panes_scored'], 'pane')}. Differences are paired "
        "by pane; the interval is over panes. A fine-tune is taken on at the next pane if its gates let it pass, as if "
        "a person had approved it at once. GPU-seconds are reckoned, not clocked.",
    )


def arms_verdict(found: Summary) -> str:
    """Sum up: is either half worth its price here."""
    tuning, retrieval = found["parts"]["fine_tunes"], found["parts"]["retrieval"]
    if tuning is None and retrieval is None:
        return "What each half of the hybrid brings takes hybrid_calendar beside rag_only and fine_tune_only."
    told = []
    if tuning is not None and not _later_fine_tunes(found["arms"]["hybrid_calendar"]):
        told.append("no fine-tune of the calendar came to serve, so nothing can be said of what repeating them brings")
    elif tuning is not None:
        told.append(_worth("repeated fine-tunes", "retrieval alone", tuning))
    if retrieval is not None:
        told.append(_worth("retrieval", "fine-tunes alone", retrieval))
    sentence = "; ".join(told)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _worth(half: str, alone: str, part: Summary) -> str:
    gain = part["hit_rate_next"]
    price = f"for {seconds_in_words(part['gpu_seconds_later'])} of a GPU more"
    if part["gpu_seconds_later"] <= 0:
        price = "at no more GPU-seconds"
    if gain is None or gain["margin"] is None:
        return f"too few panes tell what {half} {_bring(half)}, {price}"
    if abs(gain["mean"]) <= gain["margin"]:
        return f"{half} {_bring(half)} nothing that is told from noise, {price}: {alone} is as good here"
    if gain["mean"] < 0:
        return f"{half} {_take(half)} hits away ({gain['mean']:+.4f}), {price}: {alone} is better here"
    bits = part["hit_information_bits"]
    popular = bits["mean"] <= 0
    caution = ", but no hit information: these hits are popularity" if popular else ""
    return f"{half} {_bring(half)} {gain['mean']:+.4f} of hit rate {price}{caution}"


def _bring(half: str) -> str:
    return "brings" if half == "retrieval" else "bring"


def _take(half: str) -> str:
    return "takes" if half == "retrieval" else "take"


def _part_sentence(part: str, found: Summary) -> str:
    gain = found["parts"][part]
    seconds = gain["gpu_seconds_later"]
    cost = f"{seconds_in_words(abs(seconds))} of a GPU {'more' if seconds >= 0 else 'less'} after the start"
    return (
        f"{PARTS[part]} ({gain['with']} against {gain['without']}): hit rate {judged_by_pane(gain['hit_rate_next'])}, "
        f"hit information {judged_by_pane(gain['hit_information_bits'])}, for {cost}."
    )


def judged_by_pane(gain: Summary | None) -> str:
    """Say whether a difference paired by pane is told from noise."""
    return judged(gain).replace("users", "panes")


def _arm_sentence(name: str, arm: Summary) -> str:
    later = _later_fine_tunes(arm)
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
        for each in arm["fine_tunes"]
        if each["why"] != "start"
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


def _later_fine_tunes(arm: Summary) -> int:
    return sum(each["outcome"] == "taken_on" and each["why"] != "start" for each in arm["fine_tunes"])


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
    later = [each for each in arm["fine_tunes"] if each["why"] != "start"]
    return f"{_later_fine_tunes(arm)} of {whole(len(later))}"


def outcome_in_words(made: Summary) -> str:
    """Say what became of a fine-tune, and why."""
    return f"{_OUTCOMES[made['outcome']]}{_cause(made)}"
