"""VOTables of catalogs: whole files, and the ones without data that say in a Parquet file what its columns are.

The latter are a convention of STIL, TOPCAT and astropy (IVOA Note "VOParquet").
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.tables import arrow_to_astropy, field_attrs, null_value

if TYPE_CHECKING:
    from astropy.io.votable.tree import TableElement

_NAMESPACE = "http://www.ivoa.net/xml/VOTable/v1.3"
_DATATYPES = {"i1": "short", "u1": "unsignedByte", "i2": "short", "u2": "int", "i4": "int", "u4": "long", "i8": "long"}
_DATATYPES |= {"u8": "long", "f2": "float", "f4": "float", "f8": "double"}
TEXT_LENGTH = 64
"""Characters that columns of text are declared with: astropy takes none of variable length. Longer text is read all the same."""
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML has no place for."""


def votable_metadata(schema: pa.Schema, text_length: Mapping[str, int] | None = None) -> dict[bytes, bytes]:
    """Metadata of a Parquet file from which STIL and astropy's ``parquet.votable`` know units, UCDs and descriptions.

    The same bytes for the same columns.

    Parameters
    ----------
    text_length
        Characters of the longest text of columns; :data:`TEXT_LENGTH` where nothing is known of it.
    """
    root = ET.Element("VOTABLE", {"version": "1.4", "xmlns": _NAMESPACE})
    table = ET.SubElement(ET.SubElement(root, "RESOURCE", {"type": "results"}), "TABLE", {"name": "catalog"})
    schema = pa.schema([_printable(field) for field in schema])
    for field in schema:
        _add_field(table, field, (text_length or {}).get(field.name, TEXT_LENGTH))
    for number, (step, ids) in enumerate(_origins(schema), start=1):
        group = ET.SubElement(table, "GROUP", {"ID": f"filled_by_{number}", "name": step})
        for name in ids:
            ET.SubElement(group, "FIELDref", {"ref": name})
    content = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return {b"IVOA.VOTable-Parquet.version": b"1.0", b"IVOA.VOTable-Parquet.content": content}


def _printable(field: pa.Field) -> pa.Field:
    """The field without what XML has no place for."""
    attrs = {key: _UNPRINTABLE.sub("?", text) for key, text in field_attrs(field).items()}
    return field.with_name(_UNPRINTABLE.sub("?", field.name)).with_metadata(attrs)


def _add_field(table: ET.Element, field: pa.Field, text_length: int) -> None:
    told, null, name = field_attrs(field), null_value(field), field.name
    attrs = {"ID": name} if _ID.fullmatch(name) else {}
    attrs |= {"name": name, **_datatype(field.type, text_length)}
    attrs |= {key: told[source] for key, source in (("unit", "units"), ("ucd", "ucd")) if source in told}
    element = ET.SubElement(table, "FIELD", attrs)
    if "description" in told:
        ET.SubElement(element, "DESCRIPTION").text = told["description"]
    if null is not None:
        ET.SubElement(element, "VALUES", {"null": str(null)})


def _datatype(kind: pa.DataType, text_length: int) -> dict[str, str]:
    """Attributes of a FIELD that say what its values are."""
    if pa.types.is_dictionary(kind):
        return _datatype(kind.value_type, text_length)
    if pa.types.is_fixed_size_list(kind):
        return _datatype(kind.value_type, text_length) | {"arraysize": str(kind.list_size)}
    if pa.types.is_boolean(kind):
        return {"datatype": "boolean"}
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return {"datatype": _DATATYPES[np.dtype(kind.to_pandas_dtype()).str[1:]]}
    return {"datatype": "unicodeChar", "arraysize": str(max(2, text_length))}


def _origins(schema: pa.Schema) -> Iterable[tuple[str, list[str]]]:
    """Steps of a run with the names of the columns that they fill, those that XML can refer to."""
    steps: dict[str, list[str]] = {}
    for field in schema:
        step = field_attrs(field).get("filled_by")
        if step and _ID.fullmatch(field.name):
            steps.setdefault(step, []).append(field.name)
    return steps.items()


def write_votable(table: pa.Table, path: Path) -> None:
    """Write `table` as a VOTable: units, UCDs, descriptions and null values of the columns, and who fills them as groups."""
    from astropy.io.votable.tree import VOTableFile
    from astropy.utils.exceptions import AstropyWarning

    fields = [_printable(field) for field in table.schema]
    columns = arrow_to_astropy(pa.table(table.columns, schema=pa.schema(fields)))
    for name in columns.colnames:
        if columns[name].dtype == np.dtype("U1"):  # whose arraysize="1" VOTable 1.4 has given up
            columns[name] = columns[name].astype("U2")
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # of a user's names and units that the standard does not know
        file = VOTableFile.from_table(columns)
        _add_groups(file.get_first_table(), pa.schema(fields))
        file.to_xml(stream)
    text = stream.getvalue()
    if not table.num_rows:  # STIL takes a table without DATA for none
        text = text.replace(b"</TABLE>", b" <DATA><TABLEDATA/></DATA>\n  </TABLE>", 1)
    path.write_bytes(text)


def _add_groups(element: TableElement, schema: pa.Schema) -> None:
    from astropy.io.votable.tree import FieldRef, Group

    ids = {field.name: field.ID for field in element.fields}
    for number, (step, names) in enumerate(_origins(schema), start=1):
        group = Group(element, ID=f"filled_by_{number}", name=step)
        group.entries.extend(FieldRef(element, ref=ids[name]) for name in names)
        element.groups.append(group)
