"""What suits a process that runs tiles: it keeps the memory that they give back, and its threads wait less for each other."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""Numbers of glibc's malloc.h."""
_KEPT_BYTES = 2**31 - 1
SWITCH_SECONDS = 0.0005


def tune_process() -> None:
    """Settings of a process of ours: a worker, or `surveycnn run-flow`; a process that imports us is left as it is.

    A thread that comes back from a network or a compressor waits for the interpreter until another one, with thousands of small
    operations on its pixels, hands it over: by Python's default up to 5 ms each time. Shorter turns saved 4 to 7 % of the time
    of tiles on two cores.
    """
    keep_memory()
    sys.setswitchinterval(SWITCH_SECONDS)


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
