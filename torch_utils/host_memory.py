"""Memory of this process on a CPU."""

from __future__ import annotations

import ctypes

# glibc's mallopt, <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8
SETTINGS = {
    True: {M_ARENA_MAX: 1, M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1},
    False: {M_ARENA_MAX: 0, M_MMAP_MAX: 65536, M_TRIM_THRESHOLD: 2**17, M_MMAP_THRESHOLD: 2**17},  # as it starts
}


def keep_freed_memory(keep: bool = True) -> bool:
    """Keep large blocks that are freed, for the next ones that are asked for; returns whether the C library can.

    By default glibc hands them back to the system, which fills every new one with zeros, page by page, when it is first
    touched: a fifth of a training step on a CPU (tests/benchmarks/bm_training.py). What is kept stays at the
    greatest amount that was needed at once.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    return all([mallopt(name, value) for name, value in SETTINGS[keep].items()])
