"""Page, JSON file and figures of benchmarks/photoz_tables.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

SHOWN = {
    "sigma_nmad": ("NMAD", "{:.4f}"),
    "eta_0.15": ("eta(0.15) %", "{:.2%}"),
    "eta_0.05": ("eta(0.05) %", "{:.1%}"),
    "bias": ("bias", "{:.4f}"),
    "crps": ("CRPS", "{:.4f}"),
    "cde_loss": ("CDE loss", "{:.2f}"),
    "pit_ks": ("PIT KS", "{:.3f}"),
    "coverage_68": ("coverage 68 %", "{:.3f}"),
    "coverage_90": ("90 %", "{:.3f}"),
}
DEFINITIONS = """\
z_phot is the median of the PDF and dz = (z_phot - z) / (1 + z). NMAD: 1.4826 median |dz - median dz|. eta(x): share of |dz| > x.
bias: mean dz. CRPS: mean integral of the squared distance between the PDF's distribution function and the step at the truth. CDE
loss: mean of the integral of the squared density less twice the density at the truth. PIT KS: Kolmogorov-Smirnov distance to
uniform of the probability below the truth. coverage: share of truths within the central 68 and 90 % of their PDFs. Lower is
better but for coverage. A PIT or a coverage alone says little: trainZ, the same n(z) for every object, has both right."""
HOW = """\
Every PDF was read from what its method writes, put on one grid of redshifts and scored by the same code
(`benchmarks/photoz_tables_score.py`), by numerical integration. Nothing was chosen on a test half. RAIL's estimators ran at
their defaults, told of a table only the names of its columns, the limiting magnitudes that stand for non-detections and, for
SDSS, the upper end of the redshifts (1.1 times the highest of the training half). BPZ's two rows differ in the set of
templates; neither is there for SDSS, of which RAIL ships no filter curves. `surveycnn photoz` is `surveycnn photoz fit` and
`predict` at their defaults, on the tables as Parquet files of magnitudes. Times are seconds of CPU, all threads together; ours
include the start of the commands."""


def page(told: Mapping[str, Any]) -> str:
    """Markdown of a whole run."""
    parts = ["# Photometric redshifts from tables", f"Written by `{told['command']}`.", DEFINITIONS, HOW]
    for sample in told["samples"].values():
        parts += [f"## {sample['title']}", _about(sample), table(sample["rows"]), *_notes(sample)]
        parts += [f"![{sample['title']}]({sample['figure']})"] if sample.get("figure") else []
    versions = "; ".join(f"{name} {version}" for name, version in told["versions"].items())
    run = [told["machine"], versions, f"seed {told['seed']} for our rows, RAIL's defaults for its own"]
    return "\n\n".join([*parts, "## The run", "\n".join(f"- {line}" for line in run)]) + "\n"


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown table of the rows that have scores, best CRPS first; the best of each column in bold."""
    ordered = sorted((row for row in rows.values() if "metrics" in row), key=lambda row: row["metrics"]["crps"])
    head = ["method", *(title for title, _ in SHOWN.values()), "fit s", "predict s"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in ordered:
        cells = [_cell(name, row["metrics"][name]) for name in SHOWN]
        lines.append(f"| {row['title']} | {' | '.join(cells)} | {row['fit_s']:.0f} | {row['predict_s']:.1f} |")
    return "\n".join(lines)


def _cell(name: str, value: float) -> str:
    return SHOWN[name][1].format(value).rstrip("%")


def _about(sample: Mapping[str, Any]) -> str:
    grid = sample["grid"]
    return (
        f"{sample['n_train']:,} rows to train on, {sample['n_test']:,} to score on. "
        f"Grid of {grid['n']} redshifts from {grid['first']:g} to {grid['last']:g} in steps of {grid['step']:.2g}."
    )


def _notes(sample: Mapping[str, Any]) -> list[str]:
    """The check of the grid against the closed forms, and the rows that are missing."""
    notes = []
    for row in sample["rows"].values():
        if "closed_form" in row:
            pairs = ", ".join(f"{name} {row['metrics'][name]:.5f} / {value:.5f}" for name, value in row["closed_form"].items())
            notes.append(f"{row['title']}, on the grid / by the closed forms of its mixtures: {pairs}.")
    missing = [f"{row['title']} ({row['error']})" for row in sample["rows"].values() if "error" in row]
    return notes + ([f"Without a result: {'; '.join(missing)}."] if missing else [])


def draw(drawn: Mapping[str, Mapping[str, np.ndarray]], redshift: np.ndarray, title: str, path: Path) -> None:
    """Picture of `drawn`, methods with their scores: z_phot against the truth, and the histogram of the PIT."""
    figure = Figure(figsize=(4.2 * len(drawn), 6.6), layout="constrained")
    axes = figure.subplots(2, len(drawn), squeeze=False, height_ratios=(2, 1))
    top = float(np.quantile(redshift, 0.999))
    pits = [np.histogram(scores["pit"], 20, (0, 1))[0] / len(redshift) * 20 for scores in drawn.values()]
    for column, (name, scores) in enumerate(drawn.items()):
        upper, lower = axes[:, column]
        edges = np.linspace(0, top, 121)
        counts = np.histogram2d(redshift, scores["z_phot"], [edges, edges])[0].T
        upper.pcolormesh(edges, edges, np.log10(np.where(counts > 0, counts, np.nan)), cmap="viridis", rasterized=True)
        upper.plot([0, top], [0, top], color="black", linewidth=0.6)
        upper.plot([0, top], [0.15, top + 0.15 * (1 + top)], color="black", linewidth=0.6, linestyle=":")
        upper.plot([0, top], [-0.15, top - 0.15 * (1 + top)], color="black", linewidth=0.6, linestyle=":")
        upper.set(title=name, xlabel="z", ylabel="z_phot", xlim=(0, top), ylim=(0, top), aspect="equal")
        lower.stairs(pits[column], np.linspace(0, 1, 21), fill=True, color="#7a9cc6")
        lower.axhline(1, color="black", linewidth=0.6)
        lower.set(xlabel="PIT", ylabel="density", xlim=(0, 1), ylim=(0, 1.1 * max(map(np.max, pits))))
    figure.suptitle(f"{title}; dotted: |dz| = 0.15", fontsize=9)
    figure.savefig(path, dpi=100)
