"""Hold drift, policy and figures against what is promised of them: one table, and exit code 1 where a goal is missed.

``python -m bench.calibrate [SECTION ...]``; all sections without a name. Each is a function that returns its rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from bench.calibrate import economics, nulls, over_time, power, real_logs
from bench.calibrate.verdicts import Verdict
from bench.table import publish

SECTIONS: dict[str, Callable[[], list[Verdict]]] = {
    "nulls": nulls.rows,
    "power": power.rows,
    "over_time": over_time.rows,
    "economics": economics.rows,
    "real_logs": real_logs.rows,
}


def main() -> int:
    """Measure the chosen sections and publish them as one table."""
    parser = argparse.ArgumentParser(prog="python -m bench.calibrate", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    chosen: list[str] = parser.parse_args().sections or list(SECTIONS)
    unknown = [name for name in chosen if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]}; choose from {', '.join(SECTIONS)}")
    verdicts = [verdict for name in chosen for verdict in SECTIONS[name]()]
    publish("calibrate", [verdict.figure for verdict in verdicts])
    n_missed = sum(verdict.is_met is False for verdict in verdicts)
    n_judged = sum(verdict.is_met is not None for verdict in verdicts)
    print(f"{n_judged - n_missed} of {n_judged} goals met")
    return 1 if n_missed else 0


if __name__ == "__main__":
    sys.exit(main())
