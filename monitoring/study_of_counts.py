"""Sections of a study that take counts only, in words: adjacent windows, mappings held, the top k over time."""

from __future__ import annotations

from monitoring.study_phrases import Section, judged, signed, spread_in_words
from monitoring.wording import Summary, counted, decimal, difference

PROVEN_SPREADS = 2.0  # of splits: about a 95 % interval
_FEW_PAIRS = 30
_FEW = " That is too few pairs to tell much from."


def adjacent_section(study: Summary) -> Section:
    """Say how alike adjacent windows are, and what no drift would show."""
    found = study["adjacent"]
    halves, support = found["halves"], found["min_support"]
    least = f"at least {counted(support, 'transition')} on both sides"
    sentences = []
    if found["pairs"]:
        sentences.append(
            f"The top-5 successors of adjacent windows of {study['window']} share a Jaccard of "
            f"{decimal(found['jaccard_mean'])} (variance {decimal(found['jaccard_variance'])}) over "
            f"{counted(found['pairs'], 'comparison')} of a pair with {least}. At matched counts it is "
            f"{decimal(found['matched_mean'])}, and no drift at all would show {decimal(found['null_mean'])}: "
            f"drift 1 − J/J0 averages {decimal(found['drift_mean'])}."
        )
    else:
        sentences.append(
            f"No pair has {least} of two adjacent windows of {study['window']}, so nothing can be told from noise: "
            "lengthen --window, or lower --min-support."
        )
    sentences.append(_halves_sentence(halves))
    alarmed, n_windows = found["windows_alarmed"], len(found["windows"])
    verb = "drifts" if 1 in (alarmed, n_windows) else "drift"
    sentences.append(
        f"{alarmed} of {counted(n_windows, 'window')} {verb} as a whole beyond what exchanging users between the two "
        "windows explains."
    )
    if found["all_pairs"]:
        sentences.append(
            f"Over all {counted(found['all_pairs'], 'comparison')} of a pair seen on both sides, however thin, the "
            f"Jaccard is {decimal(found['all_jaccard_mean'])} (variance {decimal(found['all_jaccard_variance'])}): "
            "the thinner a pair, the lower by chance alone."
        )
    return Section(
        "adjacent",
        "Adjacent windows: top-5 Jaccard",
        sentences,
        "0.17 with a variance of 0.07 from month to month (section 2.1), at an unknown number of transitions per pair "
        "and without a null. Pairs with 12 to 36 transitions a side show 0.17 with no drift at all.",
        f"Means are over pairs, unweighted. Halves of the users are drawn {halves['splits']} times; ± is the standard "
        f"deviation over these splits. On average {halves['floor_pairs']:,.0f} comparisons make the floor and "
        f"{halves['half_pairs']:,.0f} the half.",
    )


def _halves_sentence(halves: Summary) -> str:
    beyond = halves["beyond_noise"]
    if beyond is None:
        return "Halves of the users leave no pair with enough transitions, so floor and half cannot be compared."
    compared = (
        f"Two random halves of the users agree at {spread_in_words(halves['floor'])} in the same window (floor), and "
        f"at {spread_in_words(halves['half'])} from one window to the next (half)"
    )
    size = spread_in_words(beyond, is_signed=True)
    if beyond["mean"] > PROVEN_SPREADS * beyond["spread"]:
        return f"{compared}: {size} is drift beyond noise."
    if beyond["mean"] < -PROVEN_SPREADS * beyond["spread"]:
        return f"{compared}: {size}, less than none, since other pairs have enough transitions across windows."
    return f"{compared}: the difference of {size} is no drift beyond noise."


def trajectories_section(study: Summary) -> Section:
    """Say what refreshing a plain mapping brings."""
    runs, every = study["trajectories"], study["refreshed_every"]
    fixed, refreshed, held = runs["fixed"], runs["refreshed"], runs["day_1_held"]
    if not fixed["scored"]:
        sentences = ["No transition came after the first window, so no mapping was scored."]
    else:
        sentences = [
            f"A top-1 mapping counted on the first window and held hits {decimal(fixed['hit_rate_next'])} of the next "
            f"clusters; refreshed every {every} it hits {decimal(refreshed['hit_rate_next'])}: the refresh is "
            f"{_panes_judged(refreshed, fixed)}.",
            f"The mapping of one pane, the last of the first window, is held at {decimal(held['hit_rate_next'])} and "
            f"answers {decimal(held['coverage'])} of the transitions.",
            _free_sentence(runs, refreshed),
        ]
    return Section(
        "trajectories",
        "Mappings held and refreshed",
        sentences,
        "Figure 3a draws hit rates of a mapping that is fixed, one refreshed every two days and one held from day 1; "
        "this report has no numbers of it to compare with.",
        f"All mappings are scored on the same {counted(fixed['scored'], 'transition')}, by the one that serves at that "
        "time. Differences are paired by pane; the interval is over panes. A mapping answers only pairs it was "
        "counted on; backoff answers by the second cluster, popular with the one most frequent cluster.",
    )


def _panes_judged(ours: Summary, theirs: Summary) -> str:
    found = difference(ours, theirs)
    if found is None:
        return "not compared"
    return judged({"mean": found.mean, "margin": found.margin}, "panes")


def _free_sentence(runs: Summary, refreshed: Summary) -> str:
    backoff, popular = runs["backoff"], runs["popular"]
    best = max((backoff, popular), key=lambda run: float(run["hit_information_bits"]))
    more = "more" if best["hit_information_bits"] > refreshed["hit_information_bits"] else "no more"
    return (
        f"For comparison, rows of the second cluster alone (backoff, no call) hit {decimal(backoff['hit_rate_next'])} "
        f"with {decimal(backoff['hit_information_bits'])} bits, the most popular cluster "
        f"{decimal(popular['hit_rate_next'])} with {decimal(popular['hit_information_bits'])} bits, and the refreshed "
        f"mapping carries {decimal(refreshed['hit_information_bits'])} bits: the better of the two free answers "
        f"carries {more} than a refreshed mapping."
    )


def persistence_section(study: Summary) -> Section:
    """Say how long the first window's top k holds, and how much of that is noise."""
    windows = study["persistence"]["windows"]
    known = [window for window in windows if window["all_users"]["exact"] is not None]
    least = counted(study["adjacent"]["min_support"], "transition")
    if not known:
        sentences = [
            f"No pair has {least} in the first window and in a later one, so nothing can be said: lengthen "
            "--window, or lower --min-support."
        ]
    else:
        last = known[-1]
        exact, pairs = last["all_users"]["exact"], last["all_users"]["pairs"]
        sentences = [
            f"In the window ending {last['window_end'][:10]}, {100 * exact[0]:.1f} % of {pairs:,.0f} pairs still have "
            f"the first window's top successor, {100 * exact[2]:.1f} % its ordered top 3, {100 * exact[4]:.1f} % its "
            f"top 5 and {100 * exact[9]:.1f} % its top 10." + (_FEW if pairs < _FEW_PAIRS else ""),
            _persistence_null(known),
        ]
    return Section(
        "persistence",
        "Exact match of the top k over time",
        sentences,
        "Figure 3b draws the same for k = 1 to 10, without a null; this report has no numbers of it to compare with.",
        f"Pairs have {least} or more on both sides; ties are broken at random, so a share is an expectation. Floor and "
        f"half compare halves of the users over {study['persistence']['splits']} splits, at half the transitions.",
    )


def _persistence_null(known: list[Summary]) -> str:
    window = next((each for each in reversed(known) if each["beyond_noise"] is not None), None)
    if window is None:
        return "Halves of the users leave no pair with enough transitions, so there is no null to hold that against."
    beyond, spread = window["beyond_noise"], window["beyond_noise_spread"]
    of_first = (
        f"the top successor agrees between halves of the users at {decimal(window['floor']['exact'][0])} in the same "
        f"window and at {decimal(window['half']['exact'][0])} across the two (difference {signed(beyond[0], 3)} ± "
        f"{spread[0]:.3f})"
    )
    if beyond[0] > PROVEN_SPREADS * spread[0]:
        return f"Part of that is drift: {of_first}, in the window ending {window['window_end'][:10]}."
    return f"That is what traffic alone shows: {of_first}, in the window ending {window['window_end'][:10]}."
