from __future__ import annotations

import os

import pytest

from bench.processes import BenchError, measure, python

_ALLOCATE = (
    "import os; held = bytearray(200 << 20); print(len(os.sched_getaffinity(0)), os.environ.get('OMP_NUM_THREADS'))"
)


def test_a_command_is_measured_with_its_memory_and_pinned_on_demand() -> None:
    allowed = os.sched_getaffinity(0)
    measured = measure(python("-c", _ALLOCATE), one_core=True)
    assert measured.output == "1 1\n"
    assert 200 < measured.peak_mib < 4_000
    assert measured.cpu_seconds > 0
    assert measured.wall_seconds > 0
    assert os.sched_getaffinity(0) == allowed
    free = measure(python("-c", _ALLOCATE), environment={"OMP_NUM_THREADS": "3"})
    assert free.output == f"{len(allowed)} 3\n"


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(BenchError, match=r"(?s)ended with 3.*no such thing"):
        measure(python("-c", "import sys; sys.stderr.write('no such thing'); sys.exit(3)"))
