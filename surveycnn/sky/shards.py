"""The files of one band of a chunk store: counted, brought to the disk, and written anew where they are damaged.

Zarr takes a shard that is missing, or empty after a power cut, for one without data. So the record of a band says how many files
and bytes it has; a remote store is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr

from surveycnn.durable import sync_path, sync_tree

ARRAYS = ("image", "weight", "bits", "sky", "rms")


def band_folders(store: str, index: int) -> list[Path]:
    """Folders of the shards of a band in the store at path `store`, as far as there are any."""
    if "://" in store:
        return []
    return [folder for name in ARRAYS if (folder := Path(store, name, "c", str(index))).is_dir()]


def count_files(store: str, index: int) -> list[int]:
    """Number of files of a band, and their bytes."""
    sizes = [path.stat().st_size for folder in band_folders(store, index) for path in _files(folder)]
    return [len(sizes), sum(sizes)]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix != ".partial" and path.is_file())


def sync_band(store: str, index: int) -> None:
    """Flush all files of a band to the disk, and the names that lead to them."""
    for folder in band_folders(store, index):
        sync_tree(folder)
        array, group = folder.parents[1], folder.parents[2]
        for path in (folder.parent, array, array / "zarr.json", group, group / "zarr.json"):
            sync_path(path)


def remove_partials(folder: Path) -> None:
    """Remove what Zarr has not renamed to what it was to be, as its process was killed."""
    for path in folder.rglob("*.partial"):
        path.unlink(missing_ok=True)


def write_shard(array: zarr.Array, store: str, index: int, rows: slice, cols: slice, values: np.ndarray | int) -> None:
    """Write `values` (y, x) of one shard of a band; what is there and cannot be read, which Zarr wants to, is removed first."""
    try:
        array[index, rows, cols] = values  # type: ignore[assignment]
    except (ValueError, RuntimeError):
        _, height, width = array.shards or array.chunks
        path = Path(store, array.basename, "c", str(index), str(rows.start // height), str(cols.start // width))
        if not path.is_file():
            raise
        path.unlink()
        array[index, rows, cols] = values  # type: ignore[assignment]
