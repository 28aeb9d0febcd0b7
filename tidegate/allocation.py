"""How this process's C library keeps memory that was freed."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD = -3  # mallopt(3), M_MMAP_THRESHOLD
LARGE_BYTES = 1 << 22


def return_large_blocks() -> bool:
    """Give blocks of `LARGE_BYTES` and more back to the system as soon as they are freed; False where that is unknown.

    glibc does so at first, but raises the bound to whatever was freed last, up to 32 MiB: then arrays that grow leave
    holes in the heap, about as large as themselves. A fixed bound ends that (mallopt(3)). Smaller blocks stay on the
    heap, since mapping costs a page fault for each of their pages.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, LARGE_BYTES))
