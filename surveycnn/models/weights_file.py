"""The HDF5 file with a network's weights: plain arrays within the file itself, as Keras writes them, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from surveycnn.errors import ModelError

_MAX_OBJECTS = 100_000


def stored_values(name: str, content: bytes) -> int:
    """Numbers in all arrays of a file of weights.

    HDF5 can also link to other files, compose an array of pieces of them, declare one of any size without storing it, and
    unpack it with a plugin: none of that is needed for weights.

    Parameters
    ----------
    name
        As the file is called in a message.

    Raises
    ------
    ModelError
        Where it is no HDF5 file, or holds anything but numbers that are stored in it.
    """
    import h5py

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            return sum(_n_values(f"{name}: array {array.name!r}", array) for array in _arrays(name, file))
    except ModelError:
        raise
    except Exception as error:  # h5py raises anything on a broken file
        raise ModelError(f"{name} cannot be read: {type(error).__name__}: {error}") from error


def _arrays(name: str, file: Any) -> Iterator[Any]:
    """The datasets of a file, each once; ModelError at a link that leads out of it."""
    import h5py

    groups, seen = [file], set()
    while groups:
        group = groups.pop()
        for key in group:
            if group.get(key, getclass=True, getlink=True) is not h5py.HardLink:
                raise ModelError(f"{name} has a link {key[:80]!r}, expected arrays alone")
            item = group[key]
            place = h5py.h5o.get_info(item.id).addr
            if place in seen:
                continue
            seen.add(place)
            if len(seen) > _MAX_OBJECTS:
                raise ModelError(f"{name} has more than {_MAX_OBJECTS} arrays and groups: too many for a network")
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                yield item
            else:
                raise ModelError(f"{name} has {key[:80]!r} of type {type(item).__name__}, expected arrays alone")


def _n_values(name: str, array: Any) -> int:
    if array.external or array.is_virtual:
        raise ModelError(f"{name} lies in another file")
    if array.dtype.kind not in "fiub" and array.dtype.str != "|V2":  # as bfloat16 is stored
        raise ModelError(f"{name} has the type {array.dtype}, expected numbers")
    if array.chunks or array.id.get_create_plist().get_nfilters() or array.id.get_storage_size() != array.nbytes:
        raise ModelError(f"{name} of shape {array.shape} is packed, or not stored as a whole")
    return int(array.size)
