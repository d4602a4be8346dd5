"""How a worker process keeps the memory that tiles give back, so that the next tile need not ask the kernel for it."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""Numbers of glibc's malloc.h."""
_KEPT_BYTES = 2**31 - 1


def keep_memory() -> bool:
    """Have glibc keep freed memory instead of giving it back at once; False where the C library is another one.

    A window of a tile is some hundred MB, which are new pages for every tile where they go back in between. Dask makes that
    worse, as its workers give back whatever is over 64 KB: of 115 s of a core for 20,000 sources, 27 went into the kernel's
    pages, and 6 where they are kept. The peak of the memory grows by a fifth.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # one arena: those of threads are of 64 MB at most, and larger pieces would be mapped anew each time
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(mallopt(ctypes.c_int(key), ctypes.c_int(value)) for key, value in settings)
