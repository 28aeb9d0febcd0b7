"""Sections of a study about retrieval and the model, in words: repetition, comparison, ablations."""

from __future__ import annotations

from typing import Any

from monitoring.study_phrases import NO_MODEL, Section, estimate_in_words, judged, share_in_words
from monitoring.wording import Summary, counted

WAYS = {
    "backoff": "backoff",
    "frequency": "frequency",
    "model": "model",
    "frequency_shrunk": "frequency, shrunk line",
    "model_shrunk": "model, shrunk line",
    "model_alone": "model without a line",
}
_SMALL = 0.01  # of a rate: a difference below it is proven, perhaps, but not worth a call
LEVELS = {"instance": "instance (the pair)", "c2": "second cluster", "global": "global"}


def repetition_section(study: Summary) -> Section:
    """Say whether the model answers the same again, and the same with and without what is retrieved."""
    found = study["repetition"]
    sentences = [NO_MODEL] if found is None else _repetition_sentences(found)
    return Section(
        "repetition",
        "Identical outputs: with retrieval, without, and repeated",
        sentences,
        "7.8 % of outputs are the same with and without the retrieved line, and only 37.5 % when the same prompt "
        "without it is repeated.",
        "Shares are of all pairs of the last full window, each asked with its plain top-1 successor of that window; "
        "intervals are Wilson's, over rows. The repetition asks in another order and in other batches.",
    )


def _repetition_sentences(found: Summary) -> list[str]:
    if not found["rows"]:
        return ["No row of the last window could be asked: all name a cluster without a code."]
    sentences = [
        f"Asked again with the same line, {share_in_words(found['same_when_repeated'])} of "
        f"{counted(found['rows'], 'output')} are the same, and without a line "
        f"{share_in_words(found['same_when_repeated_alone'])}.",
        f"With and without the retrieved line {share_in_words(found['same_with_and_without'])} are the same.",
        f"The output is the line itself in {share_in_words(found['repeats_line'])} of rows, and differs from both the "
        f"line and the output without it in {share_in_words(found['differs_from_both'])}.",
    ]
    if found["repeats_line"]["share"] >= 0.95:
        sentences.append("So this model repeats what it reads: what it answers is decided by retrieval.")
    return sentences + _beyond_sentence(found["rows_beyond_codebook"])


def _beyond_sentence(n_rows: int) -> list[str]:
    if not n_rows:
        return []
    return [f"{counted(n_rows, 'row')} beyond the codebook could not be asked and stayed with their backoff."]


def comparison_section(study: Summary) -> Section:
    """Say what the model adds to the counts that it reads, and on which pairs."""
    found = study["comparison"]
    groups = found["groups"]
    sentences = [_way_sentence(groups["all"])]
    if study["model"] is None:
        sentences.append(f"What the model adds: {NO_MODEL[0].lower()}{NO_MODEL[1:]}")
    else:
        sentences.append(_model_verdict(groups))
        sentences += [_group_sentence(name, groups[name]) for name in ("dense", "thin", "unseen")]
        sentences += _beyond_sentence(groups["all"]["rows_beyond_codebook"])
    return Section(
        "comparison",
        "What the model adds to the counts",
        sentences,
        "No comparison of the model with plain counts, or with the second cluster alone, is reported.",
        _basis(found),
    )


def _basis(found: Summary) -> str:
    group, n_new = found["groups"]["all"], found["transitions_of_new_clusters"]
    left_out = f" {counted(n_new, 'transition')} of clusters that nobody knew yet are left out." if n_new else ""
    return (
        f"{counted(found['windows'], 'window')} answered from the one before; all ways are scored on the same "
        f"{counted(group['ways']['backoff']['transitions'], 'transition')} and, but for backoff, asked for the same "
        f"{counted(group['rows'], 'row')}. Intervals are over users, in 256 buckets, paired. Dense pairs have "
        f"{found['min_support']} transitions or more in the window, thin ones fewer, unseen ones none: those are asked "
        f"with the line of their second cluster. A shrunk line is the top successor by a pair's counts and its "
        f"backoff's together.{left_out}"
    )


def _way_sentence(group: Summary) -> str:
    ways = group["ways"]
    if not ways["backoff"]["transitions"]:
        return "No transition of the next windows could be scored."
    rates = "; ".join(
        f"{label} {estimate_in_words(ways[way]['hit_rate'])} "
        f"({estimate_in_words(ways[way]['hit_information_bits'], 3)} bits)"
        for way, label in WAYS.items()
        if way in ways
    )
    return f"Next-hit rate (and hit information) in the next window: {rates}."


def _model_verdict(groups: Summary) -> str:
    group = groups["all"]
    plain, shrunk = group["gains"]["model - frequency"], group["gains"]["model_shrunk - frequency_shrunk"]
    if plain["hit_rate"] is None:
        return "The model could not be compared with the counts: no transition was scored."
    compared = (
        f"with the plain line its hit rate is {judged(plain['hit_rate'])} and its information "
        f"{judged(plain['hit_information_bits'])}; with the shrunk line the hit rate is {judged(shrunk['hit_rate'])} "
        f"and the information {judged(shrunk['hit_information_bits'])}."
    )
    repeated = group["line_repeated"]
    lines = "" if repeated is None else f" It answers {100 * repeated:.1f} % of its rows with the line it reads."
    return f"{_added(group)}: {compared}{lines}"


def _added(group: Summary) -> str:
    """Put all four comparisons with the line into a phrase: of proven differences, the size decides."""
    proven = [
        (gain["mean"], _SMALL * group["ways"][line][figure]["mean"])
        for way, line in (("model", "frequency"), ("model_shrunk", "frequency_shrunk"))
        for figure, gain in group["gains"][f"{way} - {line}"].items()
        if gain["margin"] is not None and abs(gain["mean"]) > gain["margin"]
    ]
    if any(mean < -small for mean, small in proven):
        return "The model takes away from the line it reads"
    if any(mean > small for mean, small in proven):
        return "The model adds to the line it reads"
    return f"The model adds {'next to nothing' if proven else 'nothing'} to the line it reads"


def _group_sentence(name: str, group: Summary) -> str:
    ways, gains = group["ways"], group["gains"]
    n = ways["backoff"]["transitions"]
    if not n:
        return f"{name.capitalize()} pairs: no transition in the next windows."
    best = max(ways, key=lambda way: ways[way]["hit_information_bits"]["mean"])
    return (
        f"{name.capitalize()} pairs ({counted(group['rows'], 'row')}, {counted(n, 'transition')}): against frequency "
        f"with the same line the model is {judged(gains['model - frequency']['hit_rate'])}; against backoff "
        f"{judged(gains['model - backoff']['hit_rate'])}; without a line "
        f"{judged(gains['model_alone - backoff']['hit_rate'])}. "
        f"Most information: {WAYS[best]}, {estimate_in_words(ways[best]['hit_information_bits'], 3)} bits."
    )


def retrieval_section(study: Summary) -> Section:
    """Say which retrieved line foretells best."""
    found = study["retrieval"]
    by_key = {(way["level"], way["kind"], way["top_n"]): way for way in found["ways"]}
    default = by_key["instance", "frequency", 1]
    if default["among"]["hit_rate"] is None:
        sentences = ["No pair of a window came again in the next one, so there was nothing to retrieve for."]
    else:
        singles = [way for (_, _, n), way in by_key.items() if n == 1]
        best = max(singles, key=lambda way: float(way["among"]["hit_information_bits"]["mean"]))
        sentences = [
            f"The paper's choice (instance level, frequency, top 1) names the next cluster in "
            f"{estimate_in_words(default['among']['hit_rate'])} of transitions "
            f"({estimate_in_words(default['among']['hit_information_bits'], 3)} bits).",
            _best_line(best, default),
            *_axis_sentences(by_key),
            _top_n_sentence(by_key, has_model=study["model"] is not None),
        ]
    if not found["has_trend"]:
        sentences.append("Trends take three full windows, and this log has two: only what is frequent was retrieved.")
    return Section(
        "retrieval",
        "Retrieval ablations",
        sentences,
        "Instance level, frequency and top 1 were best, over global level, trend and top n.",
        f"{counted(found['windows'], 'window')} answered from the one before, {counted(found['rows'], 'row')} of pairs "
        f"seen in both, {counted(default['among']['transitions'], 'transition')}. Intervals are over users, paired "
        "with the paper's choice. The embedded model reads one line: for n lines it is asked n times, and its answers "
        "are weighed by the lines' shares.",
    )


def _best_line(best: Summary, default: Summary) -> str:
    if best is default:
        return "Of all single lines the paper's choice (instance level, frequency) carries most information here, too."
    bits, gain = best["among"]["hit_information_bits"], best["among_gain"]
    return (
        f"The single line that carries most information is {LEVELS[best['level']]}, {best['kind']}: "
        f"{estimate_in_words(bits, 3)} bits; its hit rate against the paper's choice is {judged(gain['hit_rate'])}, "
        f"its information {judged(gain['hit_information_bits'])}."
    )


def _axis_sentences(by_key: dict[tuple[str, str, int], Any]) -> list[str]:
    told = []
    for label, key in (
        ("Global level instead of instance level", ("global", "frequency", 1)),
        ("Trend instead of frequency", ("instance", "trend", 1)),
    ):
        way = by_key.get(key)
        if way is None:
            continue
        of_model = "" if way["model_gain"] is None else f" (the model: {judged(way['model_gain']['hit_rate'])})"
        told.append(f"{label}: hit rate {judged(way['among_gain']['hit_rate'])}{of_model}.")
    return told


def _top_n_sentence(by_key: dict[tuple[str, str, int], Any], *, has_model: bool) -> str:
    among = ", ".join(
        f"{n}: {estimate_in_words(by_key['instance', 'frequency', n]['among']['hit_rate'])}" for n in (1, 3, 5)
    )
    told = f"The next cluster is among the top n of the pair, by n, at {among}."
    if has_model:
        gains = ", ".join(
            f"{n} is {judged(by_key['instance', 'frequency', n]['model_gain']['hit_rate'])}" for n in (3, 5)
        )
        told += f" Of that the model makes, against top 1: {gains}."
    return told
