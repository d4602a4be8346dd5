"""Columns of a table in an HDF5 file, read in a process of its own: the library of HDF5 crashes on damaged files.

That process imports little, and hands the columns over as plain arrays. Only what is in the file itself is read: links to other
files and data that are stored in them could bring any file of the machine into a table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from surveycnn.errors import InputError

if TYPE_CHECKING:
    import h5py

_ASTROPY_META = ".__table_column_meta__"
PATIENCE_SECONDS = 25.0
"""Time that the library gets for a file: in a damaged one it may go round in circles."""
BYTES_PER_SECOND = 2e6
"""Slowest reading of a file that gets more time for its size."""
_REFUSED = 2
"""Exit code of the process that means: the message on its output is for the user."""


def read_columns(file: str, part: str | int | None) -> dict[str, np.ndarray]:
    """Arrays of shape (row, ...) of the only table in a file, or of that in the group `part`; text is of type U.

    Raises
    ------
    InputError
        Where the file cannot be read, or has no such table.
    """
    command = [sys.executable, "-m", "surveycnn.tables.hdf5", file, json.dumps(part)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as output:
        patience = PATIENCE_SECONDS + os.path.getsize(file) / BYTES_PER_SECOND
        try:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": errors}
            code = subprocess.run(command, env=environment, timeout=patience, **streams).returncode
        except subprocess.TimeoutExpired:
            raise InputError(
                f"cannot read the table {file!r} (the library of HDF5 had not read it after {patience:.0f} s): is it complete?"
            ) from None
        output.seek(0)
        errors.seek(0)
        if code == _REFUSED:
            raise InputError(errors.read().decode("utf-8", "replace"))
        if code:
            end = f"signal {-code}" if code < 0 else errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise InputError(f"cannot read the table {file!r} (the library of HDF5 ended with {end}): is it complete?")
        names = json.loads(output.readline())
        return {name: np.load(output, allow_pickle=False) for name in names}


def main(file: str, part: str | int | None, output: IO[bytes]) -> int:
    """Write the names of the columns and then their arrays to `output`."""
    import h5py

    try:
        with h5py.File(file) as root:
            columns = dict(column for node in _nodes(file, root, part) for column in _columns(node))
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"the columns of {file!r} differ in length: {lengths}: keep those of one table in a group")
    except InputError as error:
        sys.stderr.write(str(error))
        return _REFUSED
    output.write(json.dumps(list(columns)).encode() + b"\n")
    for values in columns.values():
        np.save(output, values, allow_pickle=False)
    return 0


def _nodes(file: str, root: h5py.File, part: str | int | None) -> list[h5py.Dataset]:
    """Datasets of the table that is asked for."""
    found = _tables(root)
    names = ", ".join(f"{file}[{name.strip('/') or '/'}]" for name in found)
    if not found:
        raise InputError(f"{file!r} has no table: no group of it holds columns")
    if part is None and len(found) > 1:
        raise InputError(f"{file!r} holds {len(found)} tables: give one of {names}")
    wanted = next(iter(found)) if part is None else f"/{str(part).strip('/')}"
    if wanted not in found:
        raise InputError(f"{file!r} has no table [{part}]: give {names}")
    for node in found[wanted]:
        if node.external or node.is_virtual:
            raise InputError(f"column {node.name!r} of {file!r} is stored in other files: give one file that holds all of it")
    return found[wanted]


def _tables(root: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """Datasets of each table in an HDF5 file: a group of datasets that are its columns, or one dataset of records."""
    import h5py

    groups: list[h5py.Group] = [root]
    root.visititems(lambda name, node: groups.append(node) if isinstance(node, h5py.Group) else None)
    found: dict[str, list[h5py.Dataset]] = {}
    for group in groups:
        own = [key for key in group if isinstance(group.get(key, getlink=True), h5py.HardLink)]
        datasets = [
            group[key] for key in own if group.get(key, getclass=True) is h5py.Dataset and not key.endswith(_ASTROPY_META)
        ]
        found |= {node.name: [node] for node in datasets if node.dtype.names}
        columns = [node for node in datasets if node.shape and not node.dtype.names]
        found |= {group.name: columns} if columns else {}
    return found


def _columns(node: h5py.Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Columns of a dataset: itself, or the fields of its records."""
    import h5py

    if node.dtype.names:
        records = node[:]
        yield from ((name, _plain(records[name])) for name in node.dtype.names)
        return
    is_text = h5py.check_string_dtype(node.dtype) is not None
    yield node.name.rsplit("/", 1)[-1], _plain(node.asstr()[:] if is_text else node[:])


def _plain(values: np.ndarray) -> np.ndarray:
    """Objects, which are text or bytes, as text of a fixed length."""
    if values.dtype != object:
        return values
    texts = [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values.ravel()]
    return np.array(texts, dtype=str).reshape(values.shape)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2]), sys.stdout.buffer))
