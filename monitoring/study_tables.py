"""Tables of a study: every figure that its sections speak of."""

from __future__ import annotations

from monitoring.study_arm_tables import arm_tables
from monitoring.study_of_model import LEVELS, WAYS
from monitoring.study_phrases import estimate_in_words, share_in_words, spread_in_words
from monitoring.study_plots import MAPPINGS
from monitoring.study_table import Table
from monitoring.wording import ABSENT, Summary, day, decimal, whole

_GROUPS = ("all", "dense", "thin", "unseen")
_SHARES = {
    "same_when_repeated": "same when repeated with the line",
    "same_when_repeated_alone": "same when repeated without a line",
    "same_with_and_without": "same with and without the line",
    "repeats_line": "output is the line itself",
    "differs_from_both": "differs from the line and from the output without it",
}


def tables_of(study: Summary) -> dict[str, list[Table]]:
    """All tables by section."""
    return {
        "adjacent": [_halves(study), _windows(study)],
        "trajectories": [_mappings(study)],
        "persistence": _persistence(study),
        "repetition": _repetition(study),
        "comparison": [_ways(study), _gains(study)],
        "retrieval": [_retrieval(study)],
        "arms": arm_tables(study),
    }


def _halves(study: Summary) -> Table:
    halves = study["adjacent"]["halves"]
    return Table(
        f"Halves of the users, mean Jaccard and standard deviation over {halves['splits']} splits.",
        ["", "Jaccard", "Variance over pairs", "Pairs a split"],
        [
            ["floor: same window", spread_in_words(halves["floor"]), decimal(halves["floor_variance"]),
             f"{halves['floor_pairs']:,.1f}"],
            ["half: next window", spread_in_words(halves["half"]), decimal(halves["half_variance"]),
             f"{halves['half_pairs']:,.1f}"],
            ["floor less half", spread_in_words(halves["beyond_noise"], is_signed=True), ABSENT, ABSENT],
        ],
    )  # fmt: skip


def _windows(study: Summary) -> Table:
    return Table(
        "Each window against the one before it. Means are over pairs with enough transitions on both sides.",
        ["Window end", "Jaccard", "Variance", "Matched", "No drift", "Drift", "Pairs", "Flagged", "Drifts as a whole",
         "All pairs", "Their Jaccard"],
        [
            [day(each["window_end"]), decimal(each["jaccard_mean"]), decimal(each["jaccard_variance"]),
             decimal(each["matched_mean"]), decimal(each["null_mean"]), decimal(each["drift_mean"]),
             whole(each["pairs"]), whole(each["flagged_pairs"]), "yes" if each["alarmed"] else "no",
             whole(each["all_pairs"]), decimal(each["all_jaccard_mean"])]
            for each in study["adjacent"]["windows"]
        ],
    )  # fmt: skip


def _mappings(study: Summary) -> Table:
    return Table(
        f"Mappings over all panes after the first window; refreshed is every {study['refreshed_every']}.",
        ["Mapping", "Next-hit rate", "Sequence-hit rate", "Hit information (bits)", "Coverage", "Exchanges"],
        [
            [label, decimal(run["hit_rate_next"], 4), decimal(run["hit_rate_sequence"], 4),
             decimal(run["hit_information_bits"]), decimal(run["coverage"]), whole(run["exchanges"])]
            for name, label in MAPPINGS.items()
            for run in [study["trajectories"][name]]
        ],
    )  # fmt: skip


def _persistence(study: Summary) -> list[Table]:
    known = [each for each in study["persistence"]["windows"] if each["all_users"]["exact"] is not None]
    if not known:
        return []
    window, depths = known[-1], study["persistence"]["depths"]
    sides = {"all users": "all_users", "floor": "floor", "half": "half"}
    return [
        Table(
            f"The first window against the one ending {day(window['window_end'])}, by k: {what}.",
            ["", *(str(k) for k in depths), "Pairs"],
            [
                [label, *(decimal(value) for value in window[side][key] or [None] * len(depths)),
                 f"{window[side]['pairs']:,.1f}"]
                for label, side in sides.items()
            ],
        )
        for key, what in (("exact", "share of equal ordered lists"), ("jaccard", "Jaccard of the sets"))
    ]  # fmt: skip


def _repetition(study: Summary) -> list[Table]:
    found = study["repetition"]
    if found is None:
        return []
    rows = [[label, share_in_words(found[name])] for name, label in _SHARES.items()]
    return [Table(f"Outputs on {whole(found['rows'])} pairs of the last full window.", ["", "Share of rows"], rows)]


def _ways(study: Summary) -> Table:
    groups = study["comparison"]["groups"]
    return Table(
        "Ways to answer, by group of pairs, on the same transitions. ± is half of the 95 % interval over users.",
        ["Pairs", "Way", "Transitions", "Next-hit rate", "Hit information (bits)", "Coverage"],
        [
            [group, label, whole(way["transitions"]), estimate_in_words(way["hit_rate"]),
             estimate_in_words(way["hit_information_bits"], 3), decimal(way["coverage"])]
            for group in _GROUPS
            for name, label in WAYS.items()
            for way in [groups[group]["ways"].get(name)]
            if way is not None
        ],
        n_names=2,
    )  # fmt: skip


def _gains(study: Summary) -> Table:
    groups = study["comparison"]["groups"]
    return Table(
        "One way less another, paired by users.",
        ["Pairs", "Difference", "Next-hit rate", "Hit information (bits)"],
        [
            [group, " − ".join(WAYS[way] for way in name.split(" - ")),
             estimate_in_words(gain["hit_rate"], is_signed=True),
             estimate_in_words(gain["hit_information_bits"], is_signed=True)]
            for group in _GROUPS
            for name, gain in groups[group]["gains"].items()
        ],
        n_names=2,
    )  # fmt: skip


def _retrieval(study: Summary) -> Table:
    return Table(
        "Ways to retrieve. Among: the next cluster is one of the n; the model: its one answer, after reading them. "
        "Differences are against instance and frequency, at the same n for lines, at n = 1 for the model.",
        ["Level", "Kind", "n", "Among", "Bits", "Difference", "Model's hit rate", "Its bits", "Difference"],
        [
            [LEVELS[way["level"]], way["kind"], str(way["top_n"]), estimate_in_words(way["among"]["hit_rate"]),
             estimate_in_words(way["among"]["hit_information_bits"], 3),
             estimate_in_words(way["among_gain"]["hit_rate"], is_signed=True),
             estimate_in_words((way["model"] or {}).get("hit_rate")),
             estimate_in_words((way["model"] or {}).get("hit_information_bits"), 3),
             estimate_in_words((way["model_gain"] or {}).get("hit_rate"), is_signed=True)]
            for way in study["retrieval"]["ways"]
        ],
        n_names=2,
    )  # fmt: skip
