"""The pictures of an evaluation, drawn from the record that ``evaluation.json`` holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.evaluation.figures import COLOURS, OUR_COLOUR, OUR_STYLE, legend_beside, line_style, new_figure
from surveycnn.models.morphology import QUESTIONS

Entries = dict[str, dict[str, Any]]

TASKS = ("lens", "morphology", "merger", "photoz")
STAGE = "merger_stage.png"
REDSHIFTS = "photoz_nz.png"
NAMES = (*(f"{task}_{picture}.png" for task in TASKS for picture in ("reliability", "confusion")), STAGE, REDSHIFTS)
"""All files that pictures may have."""
MIN_ANSWERS = 10
"""Bins with fewer show nothing but their scatter."""
GRID = {"color": "0.93", "lw": 0.8}


def pictures(record: dict[str, Any]) -> dict[str, Callable[[Path], None]]:
    """Who draws which file, of the tasks that were measured."""
    found: dict[str, Callable[[Path], None]] = {}
    for task, about in record["tasks"].items():
        reliability, confusion = _DRAWN[task]
        found[f"{task}_reliability.png"] = partial(reliability, about["entries"])
        found[f"{task}_confusion.png"] = partial(confusion, about["entries"])
        if task == "merger" and any("stage" in entry["shown"] for entry in about["entries"].values()):
            found[STAGE] = partial(draw_stage, about["entries"])
        if task == "photoz":
            found[REDSHIFTS] = partial(draw_shares, about["entries"])
    return found


def draw_scores(entries: Entries, path: Path) -> None:
    """Score against the fraction of positives at the prior of each entry."""
    figure = new_figure((6.6, 4.6))
    axes = figure.subplots()
    for name, style in _styles(entries):
        curve = entries[name]["shown"]["reliability"]
        if curve:
            axes.plot(curve["score"], curve["fraction"], label=name, **style)
            if style["color"] == OUR_COLOUR:
                axes.errorbar(curve["score"], curve["fraction"], yerr=curve["error"], fmt="o", ms=4, color=OUR_COLOUR, lw=1.2)
    _square(axes, "score", "fraction of positives, classes weighted to the prior")
    if any(entry["shown"]["reliability"] for entry in entries.values()):
        legend_beside(axes)
    figure.savefig(path, format="png")


def draw_votes(entries: Entries, path: Path) -> None:
    """Expected against observed vote fractions, a panel per question."""
    names = _questions(entries)
    figure, panels = _panels(len(names), (3.5, 3.4))
    for axes, question in zip(panels, names, strict=True):
        for name, style in _styles(entries):
            values = entries[name]["shown"]["questions"].get(question)
            _draw_bins(axes, values["bins"] if values else {"n": []}, name, style)
        _square(axes, "expected vote fraction", "observed vote fraction")
        axes.set_title(question.replace("_", " "), fontsize=10)
    _legend_below(figure, entries)
    figure.savefig(path, format="png")


def _draw_bins(axes: Any, bins: dict[str, list[float]], name: str, style: dict[str, Any]) -> None:
    """A line through the bins with enough answers, with errors where it is ours."""
    kept = np.array(bins["n"]) >= MIN_ANSWERS
    if not kept.any():
        return
    expected, observed, error = (np.array(bins[key])[kept] for key in ("expected", "observed", "error"))
    axes.plot(expected, observed, label=name, **style)
    if style["color"] == OUR_COLOUR:
        axes.errorbar(expected, observed, yerr=error, fmt="o", ms=3.5, color=OUR_COLOUR, lw=1.2)


def draw_answers(entries: Entries, path: Path) -> None:
    """Right answer against that of the first model where the votes are confident, a panel per question."""
    name, entry = next(iter(entries.items()))
    questions = entry["shown"]["questions"]
    figure, panels = _panels(len(questions), (3.9, 3.6))
    for axes, (question, values) in zip(panels, questions.items(), strict=True):
        counts = np.array(values["confusion"])
        answers = [answer.replace("_", " ") for answer in entry["questions"][question]]
        _draw_matrix(axes, counts, answers, answers)
        axes.set_title(question.replace("_", " "), fontsize=10)
    figure.supxlabel(f"answer of {name}", fontsize=10)
    figure.supylabel("answer of at least 80 % of the volunteers (galaxies)", fontsize=10)
    figure.savefig(path, format="png")


def draw_kinds(entries: Entries, path: Path, *, positive: str) -> None:
    """Fraction of each kind that is called positive or not, a panel per entry."""
    figure = new_figure((2.6 + 1.9 * len(entries), 1.3 + 0.42 * max(len(entry["shown"]["kinds"]) for entry in entries.values())))
    panels = figure.subplots(1, len(entries), squeeze=False)[0]
    for axes, (name, entry) in zip(panels, entries.items(), strict=True):
        kinds = entry["shown"]["kinds"]
        n = np.array([kind["n"] for kind in kinds])
        selected = np.rint(n * np.array([kind["selected"] for kind in kinds])).astype(int)
        _draw_matrix(
            axes,
            np.stack([selected, n - selected], axis=1),
            [kind["kind"].replace("_", " ") for kind in kinds],
            [positive, "other"],
        )
        axes.set_title(name, fontsize=10)
        if axes is not panels[0] and _counts(entry) == _counts(next(iter(entries.values()))):
            axes.set_yticks([])  # the same stamps as in the first panel
    figure.supxlabel("called (score above 0.5 at equal shares)", fontsize=10)
    figure.savefig(path, format="png")


def draw_stage(entries: Entries, path: Path) -> None:
    """Time from the first pericentre against the true one: some mergers with their errors, and the median of all."""
    kept = {name: entry["shown"]["stage"] for name, entry in entries.items() if "stage" in entry["shown"]}
    figure, panels = _panels(len(kept), (5.2, 4.8))
    for axes, (name, stage) in zip(panels, kept.items(), strict=True):
        points, bins = stage["points"], np.array(stage["bins"]).reshape(-1, 4)
        axes.errorbar(
            points["true"], points["time"], yerr=points["error"], fmt="o", ms=2.5, color="0.6", ecolor="0.85", lw=0.7, zorder=1
        )
        axes.fill_between(bins[:, 0], bins[:, 1], bins[:, 3], color=OUR_COLOUR, alpha=0.2, lw=0, zorder=3)
        axes.plot(bins[:, 0], bins[:, 2], label="median and central 68 % of all mergers", **OUR_STYLE)
        ends = [min(points["true"], default=0), max(points["true"], default=1)]
        axes.plot(ends, ends, color="k", lw=1, zorder=4, label="right")
        axes.set(xlabel="true time from the first pericentre (Myr)", ylabel="predicted time (Myr)", title=name)
        axes.legend(fontsize=9, frameon=False, loc="upper left")
        axes.grid(**GRID)
    figure.savefig(path, format="png")


def draw_pit(entries: Entries, path: Path) -> None:
    """Histogram of the probability integral transform: flat where the PDFs are right."""
    figure = new_figure((6.6, 4.2))
    axes = figure.subplots()
    for name, style in _styles(entries):
        counts = np.array(entries[name]["shown"]["pit"])
        edges = np.linspace(0, 1, len(counts) + 1)
        axes.stairs(counts / counts.mean(), edges, baseline=None, label=name, **style)
        scatter = 1 / math.sqrt(max(1.0, counts.mean()))
    axes.axhspan(1 - scatter, 1 + scatter, color="0.9", lw=0, zorder=0, label="scatter of right PDFs")
    axes.axhline(1, color="0.75", lw=1, zorder=1)
    axes.set(xlabel="probability integral transform of the true redshift", ylabel="objects / mean", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    legend_beside(axes)
    figure.savefig(path, format="png")


def draw_redshifts(entries: Entries, path: Path) -> None:
    """Density of z_phot against the true redshift, with the limits of outliers."""
    figure, panels = _panels(len(entries), (5.2, 4.6))
    for axes, (name, entry) in zip(panels, entries.items(), strict=True):
        edges, density = np.array(entry["shown"]["edges"]), np.array(entry["shown"]["density"], float)
        image = axes.pcolormesh(edges, edges, np.where(density > 0, density, np.nan), cmap="viridis", vmin=0)
        ends = edges[[0, -1]]
        axes.plot(ends, ends, color="k", lw=1)
        for sign in (-1, 1):
            label = "|dz| = 0.15" if sign > 0 else None
            axes.plot(ends, ends + sign * 0.15 * (1 + ends), color="k", lw=1, ls=(0, (4, 2)), label=label)
        axes.set(xlabel="true redshift", ylabel="z_phot", title=name, xlim=ends, ylim=ends, aspect="equal")
        axes.legend(fontsize=9, frameon=False, loc="upper left")
        figure.colorbar(image, ax=axes, label="objects", shrink=0.8)
    figure.savefig(path, format="png")


def draw_shares(entries: Entries, path: Path) -> None:
    """n(z) of the true redshifts, of the stacked PDFs and of z_phot, a panel per entry."""
    figure, panels = _panels(len(entries), (4.6, 3.6))
    for axes, (name, entry) in zip(panels, entries.items(), strict=True):
        shares = {key: np.array(values) for key, values in entry["shown"]["nz"].items()}
        edges, width = shares["edges"], np.diff(shares["edges"])
        axes.stairs(shares["true"] / width, edges, fill=True, color="0.85", label="true redshifts")
        axes.stairs(shares["z_phot"] / width, edges, baseline=None, color=COLOURS[0], lw=1.4, label="z_phot")
        axes.stairs(shares["stacked"] / width, edges, baseline=None, color=OUR_COLOUR, lw=2.2, label="stacked PDFs")
        axes.set(xlabel="redshift", ylabel="n(z), per unit of redshift", title=name, xlim=edges[[0, -1]])
        axes.set_ylim(bottom=0)
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, format="png")


_DRAWN: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "lens": (draw_scores, partial(draw_kinds, positive="lens")),
    "morphology": (draw_votes, draw_answers),
    "merger": (draw_scores, partial(draw_kinds, positive="merger")),
    "photoz": (draw_pit, draw_redshifts),
}


def _styles(entries: Entries) -> list[tuple[str, dict[str, Any]]]:
    """Line of each entry; the first is a model and has our colour."""
    return [(name, OUR_STYLE if index == 0 else line_style(index - 1)) for index, name in enumerate(entries)]


def _counts(entry: dict[str, Any]) -> list[tuple[str, int]]:
    return [(kind["kind"], kind["n"]) for kind in entry["shown"]["kinds"]]


def _questions(entries: Entries) -> list[str]:
    found = dict.fromkeys(name for entry in entries.values() for name in entry["shown"]["questions"])
    return [name for name in QUESTIONS if name in found] + [name for name in found if name not in QUESTIONS]


def _panels(n: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """A figure of up to three panels in a row, of `size` inches each."""
    n_columns = min(n, 3)
    n_rows = -(-n // n_columns)
    figure = new_figure((size[0] * n_columns, size[1] * n_rows))
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes in panels[n:]:
        axes.set_axis_off()
    return figure, list(panels[:n])


def _square(axes: Any, xlabel: str, ylabel: str) -> None:
    axes.plot([0, 1], [0, 1], color="0.75", lw=1, zorder=0)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.grid(**GRID)


def _legend_below(figure: Any, entries: Entries) -> None:
    """One legend for all panels, where there is more than one entry."""
    if len(entries) > 1:
        from matplotlib.lines import Line2D

        lines = [Line2D([], [], label=name, **style) for name, style in _styles(entries)]
        figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 4), frameon=False, fontsize=9)


def _draw_matrix(axes: Any, counts: np.ndarray, rows: list[str], columns: list[str]) -> None:
    """Counts (row, column) as fractions of their rows."""
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(share):
        if total[row]:
            colour = "white" if value > 0.55 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(columns)), columns, fontsize=8, rotation=30 if len(columns) > 3 else 0)
    labels = [f"{name} ({n:,})" for name, n in zip(rows, total[:, 0], strict=True)]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.tick_params(length=0)
