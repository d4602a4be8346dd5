"""What the footer of a Parquet file of query results says of its columns, for whoever reads it.

Arrow, pandas, DuckDB and lsdb keep the metadata of the fields; STIL and astropy look for keys of the file.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from surveycnn.catalogs.formats.votable import votable_metadata
from surveycnn.catalogs.tables import arrow_to_astropy


def with_file_metadata(table: pa.Table) -> pa.Table:
    """The table with the keys from which STIL and ``Table.read`` of astropy know units, UCDs and descriptions."""
    known, lengths = table.schema.metadata or {}, _text_lengths(table)
    told = votable_metadata(table.schema, lengths) | _astropy_metadata(table.schema, lengths)
    return table.replace_schema_metadata({**known, **told})


def _text_lengths(table: pa.Table) -> dict[str, int]:
    """Characters of the longest text of each column of text, at least 1."""
    return {
        field.name: max(1, pc.max(pc.utf8_length(table[field.name])).as_py() or 0)
        for field in table.schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    }


def _astropy_metadata(schema: pa.Schema, text_length: Mapping[str, int]) -> dict[bytes, bytes]:
    """What astropy writes, and of whose absence it warns: the columns as in ECSV, and the length of text."""
    from astropy.table import meta

    lines = meta.get_yaml_from_table(arrow_to_astropy(schema.empty_table()))
    lengths = {f"table::len::{name}".encode(): str(length).encode() for name, length in text_length.items()}
    return {b"table_meta_yaml": "\n".join(lines).encode(), **lengths}
