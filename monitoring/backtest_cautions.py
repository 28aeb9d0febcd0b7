"""What to keep in mind when a backtest's figures are read: a log too short or too thin, pairs without an answer."""

from __future__ import annotations

from monitoring.backtest_kinds import Kind, is_own, kind_of, subject_of
from monitoring.backtest_wording import strongest
from monitoring.wording import Summary, counted, set_aside, whole

_FEW_PANES = 5  # below them no interval is given
_FEW_WINDOWS = 2
_FEW_TRANSITIONS = 1_000
_THIN = 5.0  # transitions of a pair in a window
_FEW_PAIRS = 30  # compared in a window
_LOW_COVERAGE = 0.95
_LOST_RECORDS = 0.01


def cautions(summary: Summary) -> list[str]:
    """List what limits the findings, a sentence or two each; none where nothing does.

    Parameters
    ----------
    summary : as ``tidegate backtest --json`` writes it, with one policy at least
    """
    found = [
        _short(summary),
        _few_transitions(summary),
        _thin(summary),
        _few_pairs(summary),
        *_uncovered(summary),
        _lost(summary),
    ]
    return [sentence for sentence in found if sentence is not None]


def support(summary: Summary) -> float | None:
    """Transitions of a pair in a window, on average; None where no policy of the paper's frame tells the pairs.

    The window's pairs are known from policies that ask for all of them; the transitions are the log's.
    """
    asked: list[int] = []
    for name, run in summary["policies"].items():
        if kind_of(name) in (Kind.CALENDAR, Kind.TRIGGER) or (name == "never" and run["first_table_calls"]):
            asked.append(run["first_table_calls"])
            asked += [pane["llm_calls"] for pane in run["by_pane"] if pane["llm_calls"]]
    if not sum(asked):
        return None
    return float(summary["transitions"] * window_panes(summary) / summary["panes"] / (sum(asked) / len(asked)))


def window_panes(summary: Summary) -> int:
    """Panes of a window: all that are not scored."""
    return int(summary["panes"] - len(next(iter(summary["policies"].values()))["by_pane"]))


def _short(summary: Summary) -> str | None:
    n_scored = summary["panes"] - window_panes(summary)
    if n_scored < _FEW_PANES:
        return (
            f"The log is short: {counted(n_scored, 'pane')} scored after the first window, too few for an interval. "
            "Nothing here is told apart from noise; take a longer log, or a shorter --pane."
        )
    if n_scored < _FEW_WINDOWS * window_panes(summary):
        return f"The log is short: what is scored is less than {_FEW_WINDOWS} windows, so a row had little time to pay."
    return None


def _few_transitions(summary: Summary) -> str | None:
    scored = next(iter(summary["policies"].values()))["scored"]
    if scored >= _FEW_TRANSITIONS:
        return None
    return f"Only {counted(scored, 'transition')} scored: small differences of hit rates are chance."


def _thin(summary: Summary) -> str | None:
    mean = support(summary)
    if mean is None or mean >= _THIN:
        return None
    return (
        f"Pairs are thin: about {mean:.1f} transitions each in a window. Most of them are best answered by the "
        "backoff, and few rows can pay."
    )


def _few_pairs(summary: Summary) -> str | None:
    """Look at the window in the middle of those that were judged."""
    pairs = sorted(window["pairs"] for window in summary["drift"] if window["pairs"])
    if not pairs or pairs[len(pairs) // 2] >= _FEW_PAIRS:
        return None
    return (
        f"Drift rests on few pairs, {pairs[len(pairs) // 2]:,} in a typical window: its mean scatters widely, and "
        "only a strong drift could be proven."
    )


def _uncovered(summary: Summary) -> list[str]:
    runs, subject = summary["policies"], subject_of(summary)
    low = {name: run["coverage"] for name, run in runs.items() if run["coverage"] < _LOW_COVERAGE}
    said = []
    if subject in low:
        said.append(
            f"{subject} had no answer for {100 * (1 - low[subject]):.1f} % of the transitions: the second cluster "
            "had not been seen before. Is the first window long enough?"
        )
    plain = [name for name in low if kind_of(name) in (Kind.CALENDAR, Kind.TRIGGER) and not is_own(name)]
    if plain:
        shown = strongest(plain, runs) or plain[0]
        said.append(
            f"Part of the distance to the paper's frame is coverage: it has no answer for a pair without a row, which "
            f"is a miss ({shown}: {100 * (1 - low[shown]):.1f} % of the transitions)."
        )
    return said


def _lost(summary: Summary) -> str | None:
    n_lost = set_aside(summary)
    if n_lost <= _LOST_RECORDS * summary["events"]:
        return None
    listed = ", ".join(
        f"{whole(n)} {outcome.replace('_', ' ')}"
        for outcome, n in summary["outcomes"].items()
        if n and outcome not in ("counted", "negative")
    )
    return f"{counted(n_lost, 'record')} of {whole(summary['events'])} were set aside ({listed}): see to them first."
