"""Writes the pages that are made from the code, and the README's table of models: `python docs/make_pages.py`.

docs/columns.md comes from catalogs/columns.py and catalogs/flags.py, docs/models.md and the table from the cards of the models.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from surveycnn.catalogs import columns  # noqa: E402
from surveycnn.catalogs.data_model import data_model  # noqa: E402
from surveycnn.catalogs.flags import FLAGS  # noqa: E402
from surveycnn.models.card import Cascade  # noqa: E402
from surveycnn.models.package import find_card  # noqa: E402
from surveycnn.schema import Variable  # noqa: E402

TASKS = ("lens", "morphology", "merger", "photoz")
HEADLINES = {
    "lens": ("auroc", "tpr_fpr1e3", "tpr10", "hard_auroc", "ece"),
    "morphology": ("smooth_or_featured_accuracy", "has_spiral_arms_accuracy", "bar_accuracy", "fraction_error", "coverage90"),
    "merger": ("auroc", "balanced_accuracy", "balanced_accuracy_projected", "purity_2pc_half", "time_median_error"),
    "photoz": ("sigma_nmad", "eta_0.15", "crps"),
}
"""Metrics that the README shows; docs/models.md has all."""


def pages() -> dict[Path, str]:
    """Text of every page, the README with its table included."""
    readme = ROOT / "README.md"
    table = f"<!-- models -->\n{models_table()}<!-- /models -->"
    text = re.sub(r"<!-- models -->.*?<!-- /models -->", lambda _: table, readme.read_text(encoding="utf-8"), flags=re.S)
    return {ROOT / "docs" / "columns.md": columns_page(), ROOT / "docs" / "models.md": models_page(), readme: text}


def models_table() -> str:
    """Table of the shipped models with their headline metrics, each beside its baseline."""
    rows = ["| model | bands | weights | measured on held-out simulated stamps (baseline) |", "|---|---|---|---|"]
    for name in TASKS:
        card = find_card(name)
        shown = []
        for key in filter(card.metrics.__contains__, HEADLINES[name]):
            baseline = card.metrics.get(f"baseline_{key}")
            beside = f" ({baseline.value:.3g})" if baseline else ""
            shown.append(f"{key} {card.metrics[key].value:.3g}{beside}")
        rows.append(f"| {name} | {' '.join(card.bands)} | {card.n_weights:,} | {', '.join(shown)} |")
    return "\n".join(rows) + "\n"


def models_page() -> str:
    """Every card, with all metrics and their definitions."""
    parts = [
        "# Models\n",
        "Made by `docs/make_pages.py` from the cards of the shipped models. Intervals are 16 to 84 % of the bootstrap.\n",
    ]
    for name in TASKS:
        card = find_card(name)
        parts.append(f"## {card.name} {card.version}\n\n{card.notes}\n")
        cost = f", {card.flops / 1e9:.2f} GFLOP a stamp" if card.flops else ""
        shape = f"{' '.join(card.bands)} at {card.pixel_scale} arcsec, {card.stamp_px} x {card.stamp_px} px"
        parts.append(f"{shape}, {card.n_weights:,} weights{cost}. Made by:\n")
        parts.append(f"    {card.training.command}\n")
        if card.cascade is not None:
            parts.append(cascade_text(card.cascade))
        parts.append("| metric | value | interval | n | definition |\n|---|---|---|---|---|")
        for key, metric in card.metrics.items():
            interval = f"{metric.interval[0]:.4g} to {metric.interval[1]:.4g}" if metric.interval else ""
            parts.append(f"| {key} | {metric.value:.4g} | {interval} | {metric.n} | {metric.definition} |")
        parts.append("")
    return "\n".join(parts)


def cascade_text(cascade: Cascade) -> str:
    """What the first stage of a model is and costs."""
    return (
        f"A first stage of {cascade.n_weights:,} weights and {cascade.flops / 1e9:.3f} GFLOP a stamp can stand before it: "
        f"{cascade.passed:.1%} of a survey's objects go on to the network, {cascade.lost:.1%} of the lenses that it would rank "
        f"above all but ten negatives do not; the metrics `cascade_...` are those of both together. It is "
        f"{'on' if cascade.enabled else 'off'} (`cascade.enabled` in the card). Made by:\n\n    {cascade.command}\n"
    )


def columns_page() -> str:
    """All columns and flags."""
    card = {name: find_card(name) for name in TASKS}
    parts = [
        "# Columns\n",
        "Made by `docs/make_pages.py` from the definitions that the files are written from. Rows are sorted by HEALPix",
        "order-29 index, then `source_id`. NaN: there is no number. A column is absent where its model did not run.",
        "`surveycnn columns CATALOG` prints the columns that a catalog has.\n",
        columns_in_files(),
        "## Sources\n",
        table(columns.position_columns()),
        "`input_id`, the id in the user's table (i8, or str where ids are text), where sources came from one.\n",
        "Fluxes for every band of the images:\n",
        table(columns.photometry_columns(["r"])),
        *(f"## {name}\n\n{table(card[name].schema.values())}" for name in card),
        "## lens, behind a first stage\n",
        "Where `cascade.enabled` in the card is true. `lens_domain` is NaN for what the first stage stops, and there is:\n",
        table(columns.lens_columns(has_cascade=True)[-1:]),
        "## flags\n",
        "| value | name | meaning |\n|---|---|---|",
        "\n".join(f"| {flag.value} | `{flag.name}` | {flag.doc} |" for flag in FLAGS),
    ]
    return "\n".join(parts) + "\n"


def columns_in_files() -> str:
    """Where each kind of file keeps what is known of a column."""
    return """## In files

| | HATS, Parquet | Zarr, xarray | FITS | VOTable |
|---|---|---|---|---|
| unit | field `units`, VOTable of the footer | `units` | TUNITn | unit |
| UCD | field `ucd`, VOTable of the footer | `ucd` | TUCDn | ucd |
| meaning | field `description`, VOTable of the footer | `description` | TCOMMn | DESCRIPTION |
| filled by | field `filled_by`, VOTable of the footer | `filled_by` | TORIGn | GROUP |
| null | field `null_value`, VOTable of the footer | `null_value` | TNULLn | VALUES null |

astropy gives the unit and description of a column as such, the rest in its `meta`, and masks what is null. FITS has ASCII alone:
other characters are written as in Python (`\\xfc`). A FITS table that would be larger than 4 GiB is cut into `catalog_001.fits`
and so on, whose keywords NPARTS, PARTNO and FIRSTROW say which rows they hold.

`catalog.zarr` and `to_xarray()` have every column under its name, and the columns that are planes of a cube once more as
that cube: `flux`, `flux_err`, `flux_aper`, `flux_aper_err` (source, band), `morph`, `morph_conc` (source, answer). In the
store the chunks of a cube are hard links to those of its columns, and take no space. `chunk` holds the HEALPix order-29 index of
the first row of each chunk of rows.
"""


def table(variables: Iterable[Variable]) -> str:
    """Markdown table of some columns."""
    rows = ["| column | type | unit | UCD | dims | filled by | meaning |", "|---|---|---|---|---|---|---|"]
    rows += [f"| `{row.name}` | {' | '.join(row[1:])} |" for row in data_model(variables)]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
