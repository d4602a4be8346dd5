"""What a benchmark ran on, and its tables: shared by all that time something."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from surveycnn import __version__
from surveycnn.run.local_cluster import memory_of_this_machine, n_cores

_LIBRARIES = ("numpy", "astropy", "sep", "zarr", "dask", "keras", "tensorflow", "openvino")
_CPU_INFO = Path("/proc/cpuinfo")


def cpu_name() -> str:
    """Name of the CPU, with the arithmetic that networks gain from."""
    if not _CPU_INFO.exists():
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in _CPU_INFO.read_text().splitlines())
    told = {key.strip(): value.strip() for key, _, value in lines}
    flags = set(told.get("flags", "").split())
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    return f"{told.get('model name', platform.machine())} ({', '.join(units) or 'no vector units known'})"


def environment(*more: str) -> str:
    """A few lines: the machine, how busy it is, Python and the libraries; `more` is added to them."""
    libraries = []
    for library in _LIBRARIES:
        try:
            libraries.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    threads = os.environ.get("OMP_NUM_THREADS")
    machine = [
        cpu_name(),
        f"{n_cores()} cores",
        f"{memory_of_this_machine() / 2**30:.0f} GiB",
        f"load before the start {os.getloadavg()[0]:.1f}",
    ]
    if threads:
        machine.append(f"OMP_NUM_THREADS={threads}")
    lines = [", ".join(machine), f"surveycnn {__version__}, Python {platform.python_version()}, {', '.join(libraries)}", *more]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table.

    >>> print(table(["part", "s"], [["read", 1.25], ["extract", 12.0]]))
    | part | s |
    |---|---|
    | read | 1.25 |
    | extract | 12.0 |
    """
    lines = [header, ["---"] * len(header), *rows]
    text = ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
    text[1] = "|" + "---|" * len(header)
    return "\n".join(text)
