"""Compile kernels before processes share a run of tests: ``python -m tests.kernels``.

In a fresh clone nothing is compiled, and both processes would begin with the same minute and a half of it, each for
itself. Done while mypy has the other core, it costs nobody's time; where all is compiled, it takes seconds.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def main() -> None:
    """Run a small world to its end: that takes nearly all kernels."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from tests.runs import SYNTHETIC, run_quietly, small_log

    with tempfile.TemporaryDirectory() as folder:
        run_quietly(small_log(Path(folder)), Path(folder, "home"), **SYNTHETIC)


if __name__ == "__main__":
    main()
