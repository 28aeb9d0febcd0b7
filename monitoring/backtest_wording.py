"""What a backtest's figures say in words: shared by its HTML report and the terminal, so that both say the same.

Policies are compared pane by pane on the same transitions, by hits and by hit information: a hit rate alone can be
bought with popularity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monitoring.backtest_kinds import OWN, Kind, by_kind, is_own, kind_of, price_of, subject_of
from monitoring.wording import (
    Difference,
    Summary,
    counted,
    day,
    decimal,
    difference,
    judgement,
    result_sentence,
    spending,
    whole,
)

_NEARLY_NOTHING = 0.03  # of a calendar's incremental calls, or of a hit per hundred transitions where none took part
_OPENINGS = {
    Kind.CALENDAR: "Against calendars",
    Kind.TRIGGER: "Against detectors and budgets",
    Kind.FREE: "Against what costs no call after the first table",
    Kind.OWN: "Against policies that share our estimator and backoff",
}


def verdict(summary: Summary) -> list[str]:
    """Sum a backtest up, most important first, a sentence or two each.

    Without an adaptive policy it says which of the others costs least.

    Parameters
    ----------
    summary : as ``tidegate backtest --json`` writes it, with one policy at least
    """
    runs, subject = summary["policies"], subject_of(summary)
    if subject is None:
        return [*_cheapest(summary, None), _drift_found(summary)]
    return [
        *_saved(subject, runs),
        result_sentence(subject, runs[subject]),
        *_worth_of_calls(summary, subject),
        *_against_each_kind(subject, runs),
        *_hindsight(subject, runs),
        *_cheapest(summary, subject),
        *_sweep(summary),
        f"{_drift_found(summary)} {_drift_acted_on(subject, summary)}",
    ]


def strongest(names: Sequence[str], runs: Mapping[str, Summary]) -> str | None:
    """Policy with the highest next-hit rate, of equal ones that with fewer calls; None of none."""
    return max(names, key=lambda name: (runs[name]["hit_rate_next"], -runs[name]["incremental_calls"]), default=None)


def beats(ours: Summary, theirs: Summary) -> bool | None:
    """Whether panes prove ours better by hits or by information, and no worse by the other.

    None where too few panes scored both.
    """
    found = [difference(ours, theirs, figure) for figure in ("hits_next", "hit_bits")]
    known = [each for each in found if each is not None and each.margin is not None]
    if len(known) < len(found):
        return None
    return any(each.is_proven for each in known) and all(each.mean >= 0 for each in known)


def comparison(subject: str, name: str, runs: Mapping[str, Summary]) -> str:
    """Say what `name` reached, and how the subject compares by hits, by information and in calls."""
    ours, theirs = runs[subject], runs[name]
    reached = (
        f"{name} reached {decimal(theirs['hit_rate_next'])} ({decimal(theirs['hit_information_bits'])} bits) "
        f"with {_calls(theirs)}"
    )
    hits, bits = difference(ours, theirs), difference(ours, theirs, "hit_bits")
    if hits is None or bits is None:
        return f"{reached}: no pane scored both, so the two cannot be compared."
    return f"{reached}: {judgement(subject, hits)}, {_information(bits)}, {spending(ours, theirs)}."


def margin_in_words(found: Difference | None) -> str:
    """Write a difference with its interval, for a table.

    Examples
    --------
    >>> margin_in_words(Difference(0.0811, 0.01, 12)), margin_in_words(Difference(0.0811, None, 3))
    ('+0.0811 ± 0.0100', '+0.0811')
    """
    if found is None:
        return decimal(None)
    return f"{found.mean:+.4f}" if found.margin is None else f"{found.mean:+.4f} ± {found.margin:.4f}"


def own_note(summary: Summary) -> str | None:
    """Say what ``+own`` means, where it appears."""
    if not any(is_own(name) for name in summary["policies"]):
        return None
    return (
        f"Policies named {OWN} are not the usual ones: they share our estimator and backoff, so what parts them from "
        "adaptive is only which rows are asked for, and when."
    )


def _calls(run: Summary) -> str:
    n = run["incremental_calls"]
    return counted(n, "incremental call") if n else "no incremental call"


def _information(bits: Difference) -> str:
    if bits.margin is None:
        return f"with {bits.mean:+.4f} bits of information"
    interval = f"95 % interval {bits.mean - bits.margin:+.4f} to {bits.mean + bits.margin:+.4f}"
    told = f"with {abs(bits.mean):.4f} bits {'more' if bits.mean > 0 else 'less'}"
    return f"{told} ({interval})" if bits.is_proven else f"information not told apart ({bits.mean:+.4f}, {interval})"


def _saved(subject: str, runs: Mapping[str, Summary]) -> list[str]:
    """Answer the first question, what it would have saved: in place of the sparsest calendar, and of the strongest."""
    calendars = by_kind(runs).get(Kind.CALENDAR, [])
    if not calendars:
        return []
    sparsest = min(calendars, key=lambda name: runs[name]["incremental_calls"])
    names = dict.fromkeys((sparsest, strongest(calendars, runs) or sparsest))
    ours = runs[subject]
    others = ", ".join(_spent_and_hit(name, runs[name], ours) for name in names)
    return [
        f"On this log {subject} makes {counted(ours['incremental_calls'], 'incremental LLM call')} and hits "
        f"{whole(_hits(ours))} of {counted(ours['scored'], 'transition')}; in its place {others}."
    ]


def _spent_and_hit(name: str, run: Summary, ours: Summary) -> str:
    spent, other = ours["incremental_calls"], run["incremental_calls"]
    saved = f"{100 * (1 - spent / other):.1f} % of its calls saved" if spent < other else "no call saved"
    return f"{name} makes {whole(other)} and hits {whole(_hits(run))} ({saved})"


def _hits(run: Summary) -> int:
    return round(float(run["hit_rate_next"]) * int(run["scored"]))


def _against_each_kind(subject: str, runs: Mapping[str, Summary]) -> list[str]:
    groups = by_kind(runs)
    said = []
    for kind, opening in _OPENINGS.items():
        name = strongest(groups.get(kind, []), runs)
        if name is not None:
            most = f" (the strongest of {len(groups[kind])})" if len(groups[kind]) > 1 else ""
            said.append(f"{opening}{most}: {comparison(subject, name, runs)}")
    popular = [name for name in groups.get(Kind.FREE, []) if name.startswith("popular")]
    said += [_popularity(name, subject, runs) for name in popular if _hits_more(name, subject, runs)]
    return said


def _hits_more(name: str, subject: str, runs: Mapping[str, Summary]) -> bool:
    return bool(runs[name]["hit_rate_next"] > runs[subject]["hit_rate_next"])


def _popularity(name: str, subject: str, runs: Mapping[str, Summary]) -> str:
    bits = difference(runs[name], runs[subject], "hit_bits")
    side = "less" if bits is not None and bits.mean < 0 else "no less"
    return f"Answering everybody with what is popular ({name}) hits more often here, and carries {side} information."


def _worth_of_calls(summary: Summary, subject: str) -> list[str]:
    """Say whether rows of pairs pay at all on this log: whether anything beats the fresh backoff, which is free."""
    runs = summary["policies"]
    free = strongest([name for name in runs if name.startswith("backoff")], runs)
    if free is None:
        return []
    judged = {name: beats(runs[name], runs[free]) for name in runs if kind_of(name) not in (Kind.FREE, Kind.ORACLE)}
    if None in judged.values():
        return [f"Whether calls pay at all cannot be said: too few panes to hold anything against {free}."]
    winners = [name for name, is_better in judged.items() if is_better]
    if subject in winners:
        return [_paying(summary, subject, free)]
    if winners:
        listed = ", ".join(winners)
        return [
            f"Rows of pairs pay here: {listed} beat the fresh backoff ({free}, no call). {subject} does not, at a "
            f"price of {price_of(subject, summary):g} misses a call; a lower price lets it buy more."
        ]
    return [
        f"Nothing here beats the fresh backoff ({free}), which costs no call, beyond the noise of its panes. So the "
        f"right decision is to spend nothing, and {_spent(subject, runs)}."
    ]


def _paying(summary: Summary, subject: str, free: str) -> str:
    runs = summary["policies"]
    ours, theirs = runs[subject], runs[free]
    gained = _hits(ours) - _hits(theirs)
    each = f", {gained / ours['llm_calls']:.1f} a call" if ours["llm_calls"] else ""
    return (
        f"Rows of pairs pay here: {counted(ours['llm_calls'], 'LLM call')}, the first table's among them, brought "
        f"{counted(gained, 'hit')} more than the fresh backoff ({free}, no call){each}, where a call has to save "
        f"{price_of(subject, summary):g}."
    )


def _spent(subject: str, runs: Mapping[str, Summary]) -> str:
    calls = runs[subject]["incremental_calls"]
    calendars = [runs[name]["incremental_calls"] for name in by_kind(runs).get(Kind.CALENDAR, [])]
    bound = _NEARLY_NOTHING * min(filter(None, calendars), default=runs[subject]["scored"] / 100)
    if calls == 0:
        return f"{subject} spends nothing"
    if calls <= bound:
        return f"{subject} spends nearly nothing: {counted(calls, 'incremental call')}"
    return f"{subject} spends {counted(calls, 'incremental call')} that this log does not show to pay"


def _hindsight(subject: str, runs: Mapping[str, Summary]) -> list[str]:
    if "oracle" not in runs:
        return []
    oracle, ours = runs["oracle"], runs[subject]
    above = f" ({100 * (ours['cost'] / oracle['cost'] - 1):.1f} % above it)" if oracle["cost"] else ""
    return [
        f"In hindsight, the best that {subject}'s own moves could have brought is {decimal(oracle['hit_rate_next'])} "
        f"({decimal(oracle['hit_information_bits'])} bits) with {_calls(oracle)}, at a cost of "
        f"{_cost(oracle)}; {subject} came to {_cost(ours)}{above}."
    ]


def _cost(run: Summary) -> str:
    return whole(round(float(run["cost"])))


def _cheapest(summary: Summary, subject: str | None) -> list[str]:
    runs = summary["policies"]
    known = [name for name in runs if kind_of(name) is not Kind.ORACLE]
    if not known:
        return ["Only the oracle took part, which knows the future: name a policy to hold against it."]
    least = min(known, key=lambda name: (runs[name]["cost"], name))
    if least == subject and len(known) == 1:
        return []
    return [
        f"At {summary['price']:g} misses a call, {least} costs least of what can be had without knowing the future: "
        f"{_cost(runs[least])} in misses and priced calls."
    ]


def _sweep(summary: Summary) -> list[str]:
    """Say what a sweep of prices spans, and what lies above its curve: more hits or information for as few calls."""
    runs = summary["policies"]
    curve = sorted((name for name in runs if kind_of(name) is Kind.ADAPTIVE), key=lambda name: price_of(name, summary))
    if len(curve) < 2:
        return []
    dear, cheap = runs[curve[-1]], runs[curve[0]]
    spans = (
        f"From a price of {price_of(curve[-1], summary):g} to {price_of(curve[0], summary):g} misses a call, adaptive "
        f"goes from {whole(dear['incremental_calls'])} calls and {decimal(dear['hit_rate_next'])} "
        f"({decimal(dear['hit_information_bits'])} bits) to {whole(cheap['incremental_calls'])} and "
        f"{decimal(cheap['hit_rate_next'])} ({decimal(cheap['hit_information_bits'])} bits)"
    )
    others = [name for name in runs if kind_of(name) not in (Kind.ADAPTIVE, Kind.ORACLE)]
    above = [_above(name, runs, curve) for name in others]
    listed = [each for each in above if each is not None]
    return [f"{spans}; {'above that curve: ' + ', '.join(listed) if listed else 'no baseline lies above that curve'}."]


def _above(name: str, runs: Mapping[str, Summary], curve: Sequence[str]) -> str | None:
    """Name a policy that hits more, or carries more information, than all of the curve's points of as few calls.

    One that spends less than all of them is held against the point of the fewest calls.
    """
    run, points = runs[name], [runs[each] for each in curve]
    fewest = min(point["incremental_calls"] for point in points)
    within = [point for point in points if point["incremental_calls"] <= max(run["incremental_calls"], fewest)]
    keys = ("hit_rate_next", "hit_information_bits")
    if not any(run[key] > max(point[key] for point in within) for key in keys):
        return None
    return name if all(beats(run, point) for point in within) else f"{name} (within the noise of panes)"


def _drift_found(summary: Summary) -> str:
    windows = summary["drift"]
    if not windows:
        return "Drift was not measured: no window had a full window before it, or no policy looks at drift."
    judged = [window for window in windows if window["drift_mean"] is not None]
    if not judged:
        return f"Drift could not be judged in {counted(len(windows), 'window')}: no pair was seen often enough."
    over = counted(len(judged), "window")
    if len(judged) < len(windows):
        over += f" ({len(windows) - len(judged)} more had no pair that was seen often enough)"
    alarmed = [window for window in judged if window["alarmed"]]
    if not alarmed:
        return f"No drift beyond noise was found in {over}."
    first, last = day(alarmed[0]["window_end"]), day(alarmed[-1]["window_end"])
    span = f"that ending {first}" if len(alarmed) == 1 else f"the first ending {first}, the last {last}"
    worst = max(window["drift_mean"] for window in alarmed)
    return f"Drift beyond noise was found in {len(alarmed)} of {over}: {span}; mean drift reached {worst:.3f}."


def _drift_acted_on(subject: str, summary: Summary) -> str:
    by_drift = [pane["reasons"].get("drift", 0) for pane in summary["policies"][subject]["by_pane"]]
    n_rows, n_panes = sum(by_drift), sum(n > 0 for n in by_drift)
    if not n_rows:
        return f"No decision of {subject} was reasoned with drift."
    return f"{subject} took {counted(n_rows, 'row')} by reason of drift, in {counted(n_panes, 'pane')}."
