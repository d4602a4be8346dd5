"""Writes docs/columns.md from the definitions in catalogs/columns.py and catalogs/flags.py: `python docs/make_columns.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from surveycnn.catalogs import columns  # noqa: E402
from surveycnn.catalogs.flags import FLAGS  # noqa: E402
from surveycnn.models.package import find_card  # noqa: E402
from surveycnn.schema import Variable  # noqa: E402

TARGET = ROOT / "docs" / "columns.md"


def text() -> str:
    """The whole page."""
    card = {name: find_card(name) for name in ("lens", "morphology", "merger", "photoz")}
    parts = [
        "# Columns\n",
        "Made by `docs/make_columns.py` from the definitions that the files are written from. Rows are sorted by HEALPix",
        "order-29 index, then `source_id`. NaN: there is no number. A column is absent where its model did not run.\n",
        "## Sources\n",
        table(columns.position_columns()),
        "`flux_<band>` and `flux_err_<band>` for every band of the images:\n",
        table(columns.photometry_columns(["r"])),
        *(f"## {name}\n\n{table(card[name].schema.values())}" for name in card),
        "## flags\n",
        "| value | name | meaning |\n|---|---|---|",
        "\n".join(f"| {flag.value} | `{flag.name}` | {flag.doc} |" for flag in FLAGS),
    ]
    return "\n".join(parts) + "\n"


def table(variables: Iterable[Variable]) -> str:
    """Markdown table of some columns."""
    rows = ["| column | type | unit | UCD | meaning |", "|---|---|---|---|---|"]
    for variable in variables:
        kind = variable.dtype + "".join(f"[{size}]" for size in variable.sizes)
        rows.append(f"| `{variable.name}` | {kind} | {variable.unit} | {variable.ucd} | {variable.doc} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
