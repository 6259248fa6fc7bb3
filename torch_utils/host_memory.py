"""Memory of this process on a CPU."""

from __future__ import annotations

import ctypes

# glibc's mallopt, <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Keep large blocks that are freed, for the next ones that are asked for; returns whether the C library can.

    By default glibc hands them back to the system, which fills every new one with zeros, page by page, when it is first
    touched: a fifth of a training step on a CPU (tests/benchmarks/bm_training.py). What is kept stays at the
    greatest amount that was needed at once.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc; Windows knows no library without a name
        return False
    return all([mallopt(M_ARENA_MAX, 1), mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, -1)])
