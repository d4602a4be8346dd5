"""VOTables, the tables of the Virtual Observatory, to Arrow; they are read and not written."""

from __future__ import annotations

import warnings

import pyarrow as pa

from surveycnn.errors import InputError
from surveycnn.tables.arrays import arrow_of_astropy


def read_votable(file: str, part: str | int | None) -> pa.Table:
    """Table of a VOTable file, the first, or that of the number or name `part`."""
    from astropy.io.votable import parse
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # of units, names and versions that are not in the standard
        found = list(parse(file, verify="ignore").iter_tables())
        names = ", ".join(f"[{number}] {table.name or ''}".strip() for number, table in enumerate(found))
        if not found:
            raise InputError(f"{file!r} has no table")
        if isinstance(part, str):
            part = next((number for number, table in enumerate(found) if part in (table.name, table.ID)), -1)
            if part < 0:
                raise InputError(f"{file!r} has no table of that name: its tables are {names}")
        if part is not None and part >= len(found):
            raise InputError(f"{file!r} has no table [{part}]: its tables are {names}")
        return arrow_of_astropy(found[part or 0].to_table(use_names_over_ids=True))
