"""Large blocks go back to the system, whatever was freed before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tidegate import allocation

_PROBE = """
import numpy as np
from tidegate.allocation import return_large_blocks

def mapped_mib():
    return int(open("/proc/self/statm").read().split()[0]) * 4 // 1024

assert return_large_blocks()
for mib in (8, 16, 31):  # glibc would learn to keep as much
    np.ones(mib << 17)
before = mapped_mib()
blocks = [np.ones(31 << 17) for _ in range(8)]
small = bytearray(1 << 16)  # lies above them, were they on the heap
del blocks
print(mapped_mib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_large_arrays_goes_back_when_they_go() -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 31


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda _: object())
    assert not allocation.return_large_blocks()
