"""Panels of drift: how large it is, for everybody; what proves it, for whoever asks why something was decided."""

from __future__ import annotations

from monitoring.dashboards.board import Row
from monitoring.dashboards.panels import GREEN, RED, YELLOW, Kind, Query, View
from monitoring.dashboards.queries import by_run, over_range

_SIZE_STEPS = ((None, GREEN), (0.1, YELLOW), (0.3, RED))

DRIFT_OF_THE_WINDOW = View(
    "Drift of the window",
    "Mean drift 1 - J/J0 of the last window by traffic: 0 is what the same traffic shows without drift.",
    "percentunit",
    (Query(by_run("tidegate_drift_traffic_mean"), "{{run}}"),),
    Kind.NUMBER,
    _SIZE_STEPS,
    least=None,
    runbook="TidegateDriftWithoutRefresh",
)

EFFECT = Row(
    "Drift against none",
    (
        View(
            "Drift",
            "1 - J/J0, by traffic and by pair. 0 is what no drift shows, whatever the traffic is; below 0 is noise.",
            "percentunit",
            (
                Query(by_run("tidegate_drift_traffic_mean"), "by traffic {{run}}"),
                Query(by_run("tidegate_drift_mean"), "by pair {{run}}"),
            ),
            steps=_SIZE_STEPS,
            least=None,
            runbook="TidegateDriftWithoutRefresh",
        ),
        View(
            "Jaccard, and what no drift would show",
            "Top-5 successors of the window against its reference. Drift is what J lacks of J0.",
            "percentunit",
            (
                Query(by_run("tidegate_jaccard_mean"), "J {{run}}"),
                Query(by_run("tidegate_jaccard_null_mean"), "J0, no drift {{run}}"),
            ),
            most=1.0,
        ),
        View(
            "Pairs",
            "Pairs with traffic enough to be compared in the last window, and those of them that were flagged.",
            "short",
            (
                Query(by_run("tidegate_pairs_compared"), "compared {{run}}"),
                Query(by_run("tidegate_pairs_flagged"), "flagged {{run}}"),
            ),
        ),
    ),
)

EVIDENCE = (
    View(
        "What drift is tested against",
        "Standard deviations by which the window's statistic exceeds what exchanging users shows.",
        "none",
        (Query(by_run("tidegate_drift_z"), "{{run}}"),),
        steps=((None, GREEN), (3.0, YELLOW), (6.0, RED)),
        least=None,
    ),
    View(
        "What alarms",
        "1 where the last window drifts as a whole, and where its newest pane does so alone.",
        "none",
        (
            Query(by_run("tidegate_drift_alarmed"), "window {{run}}"),
            Query(by_run("tidegate_drift_front_alarmed"), "newest pane {{run}}"),
        ),
        most=1.0,
    ),
    View(
        "The course of drift",
        "What the detector over windows holds against its threshold: it alarms above.",
        "none",
        (
            Query(by_run("tidegate_drift_course_statistic"), "statistic {{run}}"),
            Query(by_run("tidegate_drift_course_threshold"), "threshold {{run}}"),
        ),
        least=None,
    ),
)

WINDOWS = View(
    "Windows, and those that drift as a whole",
    "Windows within the time shown that were compared with their reference, and alarms among them.",
    "short",
    (
        Query(over_range("tidegate_windows_total"), "windows {{run}}"),
        Query(over_range("tidegate_drift_alarms_total"), "alarms {{run}}"),
    ),
)
