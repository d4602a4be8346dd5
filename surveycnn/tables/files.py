"""Tables of users as files, to and from Arrow: Parquet, FITS, CSV, ECSV and HDF5, by the suffix; VOTable is read only.

Every column is kept, so that a result stands beside what the user knows of an object; who reads a table
knows what the columns mean. A missing value is a null in Arrow, masked in FITS and ECSV, empty in CSV.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import tempfile
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.tables.arrays import (
    array_of_column,
    arrow_of_astropy,
    astropy_of_arrow,
    missing_message,
    split_vectors,
    to_arrow,
)
from surveycnn.tables.hdf5 import read_columns
from surveycnn.tables.votable import read_votable

if TYPE_CHECKING:
    from astropy.table import Table

SUFFIXES = (".parquet", ".fits", ".csv", ".ecsv", ".hdf5", ".h5")
_READ_ONLY = {".fits.gz": ".fits", ".vot": ".vot", ".votable": ".vot", ".xml": ".vot"}


def read_table(path: str | Path, group: str | int | None = None, *, text: Collection[str] = ()) -> pa.Table:
    """Table of a file, columns of shape (row,) or (row, n), with units and descriptions in the metadata of the fields.

    Parameters
    ----------
    path
        ``.parquet .fits .fits.gz .csv .ecsv .hdf5 .h5 .vot .votable .xml``; ``FILE[n]`` or ``FILE[NAME]`` for an HDU or a group.
    group
        HDU or group, instead of one in brackets; default the first HDU that is a table, the only group that is one.
    text
        Columns that are text even if they look like numbers, which the other formats say themselves and CSV does not: 007.

    Raises
    ------
    InputError
        Where there is no such file, its suffix is not known, it cannot be read, or two columns have one name.
    """
    file, part = split_path(str(path))
    part = group if group is not None else part
    reader = _READERS.get(_suffix(file, (*SUFFIXES, *_READ_ONLY)))
    if reader is None:
        known = ", ".join((*SUFFIXES, *_READ_ONLY))
        raise InputError(f"cannot read {file!r} as a table: the suffix is {Path(file).suffix!r}, known are {known}")
    if not os.path.isfile(file):
        raise InputError(f"there is no table {file!r}: correct the path")
    try:
        table = reader(file, part) if reader is not _read_csv else _read_csv(file, part, text)
        _check_names(table.column_names, f"the table {file!r}")
    except InputError:
        raise
    except Exception as error:  # whatever a broken file makes its library raise
        raise InputError(f"cannot read the table {file!r} ({type(error).__name__}: {error}): is it complete?") from error
    return table


def write_table(table: pa.Table, path: str | Path) -> Path:
    """Write a table in the format of the suffix; the file appears whole or not at all, and replaces an older one.

    Columns of shape (row, n) are fixed-size lists in Parquet, vector columns in FITS and ECSV, 2-d datasets in HDF5, and
    ``name_0`` to ``name_n-1`` in CSV.

    Raises
    ------
    InputError
        Where the path cannot be written, or the format cannot hold a column.
    """
    path = check_output(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{path.suffix.lower()}")  # shorter than any limit
    try:
        _WRITERS[path.suffix.lower()](table, temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r} ({error.strerror or error}): give another path") from error
    except Exception as error:  # whatever a library raises on what its format cannot hold
        raise InputError(
            f"cannot write {str(path)!r} ({type(error).__name__}: {error}): leave out columns of unusual types, or write .parquet"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def check_output(path: str | Path) -> Path:
    """The path of a table that can be written; an InputError says why it cannot."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write {str(path)!r}: the suffix is {path.suffix!r}, known are {', '.join(SUFFIXES)}")
    folder = path.absolute().parent
    if not os.path.isdir(folder):
        raise InputError(f"cannot write {str(path)!r}: there is no folder {str(folder)!r}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"cannot write {str(path)!r}: something else is there under that name: remove it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            return path
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r} ({error.strerror or error}): give another path") from error


def _suffix(file: str, known: tuple[str, ...]) -> str:
    """The longest of the suffixes `known` that the name ends with, in small letters, as the format that it stands for."""
    found = [suffix for suffix in known if file.lower().endswith(suffix)]
    longest = max(found, key=len, default="")
    return _READ_ONLY.get(longest, longest)


def _check_names(names: list[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{where} has more than one column {', '.join(map(repr, twice))}: rename all but one")


def _no_part(file: str, part: str | int | None) -> None:
    if part is not None:
        raise InputError(f"{file!r} has no part [{part}]: only FITS has HDUs and HDF5 groups; give the file without brackets")


def _read_parquet(file: str, part: str | int | None) -> pa.Table:
    import pyarrow.parquet as pq

    _no_part(file, part)
    with pq.ParquetFile(file) as stream:
        return stream.read()


def _read_csv(file: str, part: str | int | None, text: Collection[str] = ()) -> pa.Table:
    """Table of a CSV file with a line of names; lines before it that begin with # are left out."""
    import pyarrow.csv as pa_csv

    _no_part(file, part)
    n_comments = 0
    with open(file, "rb") as stream:
        while stream.readline().startswith(b"#"):
            n_comments += 1
    types = pa_csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string()))
    return pa_csv.read_csv(file, pa_csv.ReadOptions(skip_rows=n_comments), convert_options=types)


def _read_ecsv(file: str, part: str | int | None) -> pa.Table:
    from astropy.table import Table

    _no_part(file, part)
    return arrow_of_astropy(Table.read(file, format="ascii.ecsv"))


def _read_fits(file: str, part: str | int | None) -> pa.Table:
    from astropy.io import fits
    from astropy.table import Table
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # of units and keywords that are not in the standard
        with _plain(file) as stream, fits.open(stream) as hdus:
            numbers = [number for number, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
            parts = [f"[{number}] {hdus[number].name}".strip() for number in numbers]
            if not numbers:
                raise InputError(f"{file!r} has no table: its {len(hdus)} HDUs hold other things")
            wanted = numbers[0] if part is None else part if isinstance(part, int) else _hdu_of_name(hdus, str(part))
            if wanted not in numbers:
                raise InputError(f"{file!r} has no table [{part}]: its tables are {', '.join(parts)}")
            options = {"character_as_bytes": False, "mask_invalid": False, "unit_parse_strict": "silent"}
            table = Table.read(hdus, hdu=wanted, format="fits", **options)
            _add_meanings(table, hdus[wanted].header)
            return arrow_of_astropy(table)


def _plain(file: str) -> IO[bytes]:
    """The bytes of a file, decompressed: astropy hangs, or crashes, on a stream that turns out to be damaged on the way."""
    if not file.lower().endswith(".gz"):
        return open(file, "rb")
    with gzip.open(file) as stream:
        return io.BytesIO(stream.read())


def _add_meanings(table: Table, header: Any) -> None:
    """Give the columns of a FITS table the UCDs and descriptions of its header, which astropy leaves there."""
    for number in range(1, len(table.colnames) + 1):
        name = header.get(f"TTYPE{number}")
        if name in table.colnames:
            ucd, description = header.get(f"TUCD{number}"), header.get(f"TCOMM{number}")
            info = table[name].info
            info.meta = {**(info.meta or {}), **({"ucd": ucd} if ucd else {})}
            info.description = str(description) if description else info.description


def _hdu_of_name(hdus: Any, name: str) -> int:
    return next((number for number, hdu in enumerate(hdus) if hdu.name.upper() == name.upper()), -1)


def _read_hdf5(file: str, part: str | int | None) -> pa.Table:
    return pa.table({name: to_arrow(values) for name, values in read_columns(file, part).items()})


def _write_parquet(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")


def _write_csv(table: pa.Table, path: Path) -> None:
    import pyarrow.csv as pa_csv

    flat = split_vectors(table)
    _check_names(flat.column_names, "the table, with a column for each value of its vectors,")
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerow(flat.column_names)  # Arrow would put each name into quotes
    with open(path, "ab") as stream:
        pa_csv.write_csv(flat, stream, pa_csv.WriteOptions(include_header=False))


def _write_ecsv(table: pa.Table, path: Path) -> None:
    # astropy cannot read a file without rows whose columns have several values per row
    astropy_of_arrow(table if table.num_rows else split_vectors(table)).write(path, format="ascii.ecsv")


def _write_fits(table: pa.Table, path: Path) -> None:
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # of units that are not in the standard
        astropy_of_arrow(table, for_fits=True).write(path, format="fits")


def _write_hdf5(table: pa.Table, path: Path) -> None:
    import h5py

    arrays = {name: array_of_column(table[name], name) for name in table.column_names}
    for name, values in arrays.items():
        if "/" in name:
            raise InputError(f"column {name!r} cannot be written to HDF5, where / parts groups: rename it")
        if np.ma.isMaskedArray(values):
            if values.dtype != object:
                raise InputError(missing_message(name, values, "HDF5"))
            arrays[name] = values.filled("")
    with h5py.File(path, "w", track_order=True) as root:
        for name, values in arrays.items():
            root.create_dataset(name, data=values, dtype=h5py.string_dtype() if values.dtype == object else None)


_READERS: dict[str, Callable[[str, str | int | None], pa.Table]] = {
    ".parquet": _read_parquet,
    ".fits": _read_fits,
    ".csv": _read_csv,
    ".ecsv": _read_ecsv,
    ".hdf5": _read_hdf5,
    ".h5": _read_hdf5,
    ".vot": read_votable,
}
_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".parquet": _write_parquet,
    ".fits": _write_fits,
    ".csv": _write_csv,
    ".ecsv": _write_ecsv,
    ".hdf5": _write_hdf5,
    ".h5": _write_hdf5,
}
