"""Dense worlds that drift: what adaptive pays for what it reaches, beside all baselines and the oracle."""

from __future__ import annotations

import numpy as np

from bench.calibrate.backtests import Standings, dense, of_world
from bench.calibrate.verdicts import Verdict, judged
from bench.table import Figure
from stream.worlds import world_named

WORLDS = ("abrupt", "gradual", "seasonal", "mixed")
SEEDS = range(5)
PRICE = 1.0
BASELINES = [
    *("never", "popular", "backoff", "every:2", "always", "jaccard:0.45", "cusum", "cara", "budget:2000"),
    *("never+own", "backoff+own", "every:2+own", "always+own", "jaccard:0.45+own", "cusum+own", "cara+own"),
]


def rows() -> list[Verdict]:
    """Compare on every world, each figure the worst of the seeds but where it says mean."""
    return [verdict for name in WORLDS for verdict in _of_world(name)]


def _of_world(name: str) -> list[Verdict]:
    runs = [of_world(dense(world_named(name), seed), [*BASELINES, "adaptive", "oracle"], price=PRICE) for seed in SEEDS]
    policies: list[Standings] = [run["policies"] for run in runs]
    n = f"32 clusters, 7,000 sessions a day, price {PRICE:g}, {len(runs)} seeds"

    def ratios(figure: str, of: str) -> list[float]:
        return [each["adaptive"][figure] / each[of][figure] for each in policies]

    calls = [each["adaptive"]["incremental_calls"] / each["every:2"]["incremental_calls"] for each in policies]
    reasons = {reason for each in policies for pane in each["adaptive"]["by_pane"] for reason in pane["reasons"]}
    cheaper = [_cheaper(each) for each in policies]
    return [
        judged(
            f"{name}: next-hit rate / always", min(ratios("hit_rate_next", "always")), "ratio", low=0.99, conditions=n
        ),
        judged(
            f"{name}: information / always",
            min(ratios("hit_information_bits", "always")),
            "ratio",
            low=0.99,
            conditions=n,
        ),
        judged(
            f"{name}: incremental calls / every:2",
            max(calls),
            "ratio",
            high=0.09,
            conditions=f"{n}; {', '.join(f'{share:.3f}' for share in calls)}, mean {np.mean(calls):.3f}",
        ),
        judged(f"{name}: cost / oracle", max(ratios("cost", "oracle")), "ratio", high=1.15, conditions=n),
        judged(
            f"{name}: baselines that reach as many hits for less",
            sum(map(len, cheaper)),
            "",
            high=0,
            conditions="; ".join(
                f"seed {seed}: {', '.join(them)}" for seed, them in zip(SEEDS, cheaper, strict=True) if them
            )
            or f"{len(BASELINES)} baselines, {n}",
        ),
        Verdict(Figure(f"{name}: reasons of rows", ", ".join(sorted(reasons)), "", "", n), None),
    ]


def _cheaper(policies: Standings) -> list[str]:
    """Baselines whose next-hit rate is not below adaptive's, at a lower cost."""
    adaptive = policies["adaptive"]
    return [
        name
        for name in BASELINES
        if policies[name]["hit_rate_next"] >= adaptive["hit_rate_next"] and policies[name]["cost"] < adaptive["cost"]
    ]
