"""How the columns of our Parquet files are encoded."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from surveycnn.catalogs.columns import HEALPIX_COLUMN


def encodings(schema: pa.Schema) -> dict[str, Any]:
    """Arguments of ``pyarrow.parquet.write_table``: floats byte by byte, a dictionary for the rest.

    A dictionary of measured numbers, which are all different, takes three times as long to write and half as much room again.
    """
    by_column = {HEALPIX_COLUMN: "DELTA_BINARY_PACKED"} if HEALPIX_COLUMN in schema.names else {}
    others = []
    for one in schema:
        is_list = pa.types.is_fixed_size_list(one.type)
        leaf = f"{one.name}.list.element" if is_list else one.name
        if pa.types.is_floating(one.type.value_type if is_list else one.type):
            by_column[leaf] = "BYTE_STREAM_SPLIT"
        elif one.name not in by_column:
            others.append(leaf)
    return {"column_encoding": by_column, "use_dictionary": others}
