"""Keeping freed memory in the process: convolutions on a CPU free and ask for the same all day."""

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory instead of giving it back to the system.

    By default every large tensor is a mapping of its own, whose pages the kernel clears at each
    use: a quarter of the time of a synthesis step on a CPU (see benchmarks/). The process's peak
    does not grow, but it stays near it. Results do not change.

    Returns:
        Whether this system's allocator could be told; others are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER))
