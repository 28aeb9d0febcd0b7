"""Studies as ``tidegate study --json`` writes them, made by hand."""

from __future__ import annotations

from typing import Any

_DEPTHS = list(range(1, 11))
_GAINS = (
    "frequency - backoff",
    "model - frequency",
    "model - backoff",
    "model_alone - backoff",
    "frequency_shrunk - backoff",
    "model_shrunk - frequency_shrunk",
    "model_shrunk - backoff",
)


def estimate(mean: float, margin: float | None = 0.01) -> dict[str, Any]:
    return {"mean": mean, "margin": margin}


def share(value: float) -> dict[str, float]:
    return {"share": value, "low": max(0.0, value - 0.02), "high": min(1.0, value + 0.02)}


def spread(mean: float, of: float = 0.01) -> dict[str, float]:
    return {"mean": mean, "spread": of}


def study(
    *,
    with_model: bool = True,
    beyond_noise: dict[str, float] | None = None,
    alarmed: tuple[int, ...] = (),
    model_gain: float = 0.0,
    refreshed: float = 0.2,
    n_windows: int = 4,
    source: str = "watches.csv",
) -> dict[str, Any]:
    """A study of a few windows; the floor is 0.5, and half is what `beyond_noise` leaves of it."""
    beyond = beyond_noise or spread(0.003)
    return {
        "source": source,
        "engine": "embedded" if with_model else "frequency",
        "pane": "1d",
        "window": "3d",
        "gap": "1d",
        "positive": None,
        "dedup": "first",
        "allow_return": False,
        "min_support": 20,
        "seed": 0,
        "events": 12_345,
        "outcomes": {"counted": 12_000, "negative": 345},
        "clusters": 40,
        "transitions": 9_000,
        "pairs": 800,
        "panes": 3 * n_windows,
        "windows": n_windows,
        "adjacent": _adjacent(n_windows, beyond, alarmed),
        "trajectories": {
            name: trajectory(rate, 3 * n_windows - 3)
            for name, rate in (
                ("fixed", 0.1),
                ("refreshed", refreshed),
                ("day_1_held", 0.05),
                ("backoff", 0.22),
                ("popular", 0.15),
            )
        },
        "refreshed_every": "2d",
        "persistence": {
            "depths": _DEPTHS,
            "splits": 8,
            "windows": [_held(i, beyond) for i in range(1, n_windows)],
        },
        "model": {"given": None, "capacity": 64, "clusters_beyond_codebook": 0} if with_model else None,
        "repetition": _repetition() if with_model else None,
        "comparison": _comparison(with_model, model_gain),
        "retrieval": _retrieval(with_model),
    }


def trajectory(rate: float, n_panes: int) -> dict[str, Any]:
    panes = [
        {
            "pane_end": f"2024-01-{4 + i:02d}T00:00:00Z",
            "scored": 1_000,
            "answered": 900,
            "hits_next": round(1_000 * rate) + (-1) ** i,
            "hits_sequence": round(1_200 * rate),
            "hit_bits": 3_000 * rate,
        }
        for i in range(n_panes)
    ]
    return {
        "scored": 1_000 * n_panes,
        "hit_rate_next": rate,
        "hit_rate_sequence": 1.2 * rate,
        "hit_information_bits": 3 * rate,
        "coverage": 0.9,
        "exchanges": 3,
        "by_pane": panes,
    }


def _adjacent(n_windows: int, beyond: dict[str, float], alarmed: tuple[int, ...]) -> dict[str, Any]:
    windows = [
        {
            "window_end": f"2024-01-{1 + 3 * i:02d}T00:00:00Z",
            "pairs": 30,
            "jaccard_mean": 0.55,
            "jaccard_variance": 0.03,
            "matched_mean": 0.5,
            "null_mean": 0.51,
            "drift_mean": 0.02,
            "flagged_pairs": 2 if i in alarmed else 0,
            "alarmed": i in alarmed,
            "all_pairs": 700,
            "all_jaccard_mean": 0.2,
        }
        for i in range(1, n_windows)
    ]
    return {
        "min_support": 20,
        "windows": windows,
        "pairs": 30 * len(windows),
        "jaccard_mean": 0.55,
        "jaccard_variance": 0.03,
        "matched_mean": 0.5,
        "null_mean": 0.51,
        "drift_mean": 0.02,
        "windows_alarmed": len(alarmed),
        "all_pairs": 700 * len(windows),
        "all_jaccard_mean": 0.2,
        "all_jaccard_variance": 0.05,
        "halves": {
            "splits": 20,
            "floor": spread(0.5),
            "half": spread(0.5 - beyond["mean"]),
            "beyond_noise": beyond,
            "floor_variance": 0.02,
            "half_variance": 0.02,
            "floor_pairs": 50.0,
            "half_pairs": 45.0,
        },
    }


def without_support(found: dict[str, Any]) -> dict[str, Any]:
    """The same study, no pair of which has enough transitions for anything."""
    absent = dict.fromkeys(("jaccard_mean", "jaccard_variance", "matched_mean", "null_mean", "drift_mean"))
    halves = dict.fromkeys(("floor", "half", "beyond_noise", "floor_variance", "half_variance"))
    found["adjacent"] |= absent | {"pairs": 0}
    found["adjacent"]["halves"] |= halves | {"floor_pairs": 0.0, "half_pairs": 0.0}
    found["adjacent"]["windows"] = [each | absent | {"pairs": 0} for each in found["adjacent"]["windows"]]
    nothing = {"exact": None, "jaccard": None, "pairs": 0.0}
    found["persistence"]["windows"] = [
        each
        | {"all_users": nothing, "floor": nothing, "half": nothing, "beyond_noise": None, "beyond_noise_spread": None}
        for each in found["persistence"]["windows"]
    ]
    return found


def without_scores(found: dict[str, Any]) -> dict[str, Any]:
    """The same study, nothing of which was scored."""
    rates = dict.fromkeys(("hit_rate_next", "hit_rate_sequence", "hit_information_bits", "coverage"))
    for run in found["trajectories"].values():
        run.update(rates | {"scored": 0})
        run["by_pane"] = [pane | {"scored": 0, "answered": 0, "hits_next": 0} for pane in run["by_pane"]]
    nothing = {"transitions": 0, "coverage": None, "hit_rate": None, "hit_information_bits": None}
    gain = {"hit_rate": None, "hit_information_bits": None}
    for group in found["comparison"]["groups"].values():
        group["ways"] = dict.fromkeys(group["ways"], nothing)
        group["gains"] = dict.fromkeys(group["gains"], gain)
    for way in found["retrieval"]["ways"]:
        way.update({"among": nothing, "among_gain": gain})
        way.update({"model": nothing, "model_gain": gain} if way["model"] is not None else {})
    return found


def _held(i: int, beyond: dict[str, float]) -> dict[str, Any]:
    def side(top: float, pairs: float) -> dict[str, Any]:
        return {
            "exact": [top / k for k in _DEPTHS],
            "jaccard": [min(1.0, top + k / 50) for k in _DEPTHS],
            "pairs": pairs,
        }

    return {
        "window_end": f"2024-01-{1 + 3 * i:02d}T00:00:00Z",
        "all_users": side(0.7, 40),
        "floor": side(0.6, 38.5),
        "half": side(0.6 - beyond["mean"], 36.5),
        "beyond_noise": [beyond["mean"]] * 10,
        "beyond_noise_spread": [beyond["spread"]] * 10,
    }


def _repetition() -> dict[str, Any]:
    return {
        "rows": 332,
        "rows_beyond_codebook": 0,
        "same_when_repeated": share(1.0),
        "same_when_repeated_alone": share(1.0),
        "same_with_and_without": share(0.12),
        "repeats_line": share(0.6),
        "differs_from_both": share(0.2),
    }


def _result(rate: float) -> dict[str, Any]:
    return {
        "transitions": 4_000,
        "coverage": 1.0,
        "hit_rate": estimate(rate),
        "hit_information_bits": estimate(3 * rate, 0.03),
    }


def _comparison(with_model: bool, model_gain: float) -> dict[str, Any]:
    rates = {"backoff": 0.15, "frequency": 0.12, "frequency_shrunk": 0.18}
    if with_model:
        rates |= {"model": 0.12 + model_gain, "model_shrunk": 0.18 + model_gain, "model_alone": 0.1}

    def gain(name: str) -> dict[str, Any]:
        ours, theirs = name.split(" - ")
        is_same = rates[ours] == rates[theirs]
        difference, margin = rates[ours] - rates[theirs], 0.0 if is_same else 0.0001
        return {
            "hit_rate": estimate(difference, margin),
            "hit_information_bits": estimate(3 * difference, 3 * margin),
        }

    groups = {
        group: {
            "rows": 1_000,
            "rows_beyond_codebook": 0,
            "line_repeated": 0.98 if with_model else None,
            "ways": {way: _result(rate) for way, rate in rates.items()},
            "gains": {name: gain(name) for name in _GAINS if set(name.split(" - ")) <= set(rates)},
        }
        for group in ("all", "unseen", "thin", "dense")
    }
    return {"windows": 3, "min_support": 20, "transitions_of_new_clusters": 0, "groups": groups}


def _retrieval(with_model: bool) -> dict[str, Any]:
    base = {"instance": 0.12, "c2": 0.15, "global": 0.1}
    ways = []
    for level, rate in base.items():
        for kind, loss in (("frequency", 0.0), ("trend", 0.02)):
            for n in (1, 3, 5):
                of_way, default = rate * (1 + n / 2) - loss, 0.12 * (1 + n / 2)
                gain = {
                    "hit_rate": estimate(of_way - default, 0.001),
                    "hit_information_bits": estimate(3 * (of_way - default), 0.003),
                }
                ways.append(
                    {
                        "level": level,
                        "kind": kind,
                        "top_n": n,
                        "among": _result(of_way),
                        "among_gain": gain,
                        "model": _result(rate - loss) if with_model else None,
                        "model_gain": gain if with_model else None,
                    }
                )
    return {"windows": 2, "rows": 700, "has_trend": True, "ways": ways}
