"""The pictures of a challenge, drawn from the record that ``challenge.json`` holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.challenge.report import OURS, finders_in_order
from surveycnn.evaluation.figures import OUR_COLOUR, OUR_STYLE, legend_beside, line_style, new_figure
from surveycnn.training.finder_metrics import FPR

Record = dict[str, Any]

SIZE = (8.6, 4.8)
"""inches"""
SN_TICKS = (3, 10, 30, 100, 300, 1000)
MIN_OBJECTS = 10
"""Bins with fewer show nothing but their scatter."""


def draw_roc(record: Record, path: Path) -> None:
    """ROC curves of the challenge on a logarithmic axis, with the points of one and of ten false positives."""
    figure = new_figure(SIZE)
    axes = figure.subplots()
    n_negative = record["sets"]["challenge"]["n_negatives"]
    for name, style in _styles(record):
        roc = record["finders"][name]["sets"]["challenge"]["roc"]
        fpr, tpr = np.array(roc["fpr"]), np.array(roc["tpr"])
        axes.plot(fpr[1:], tpr[1:], label=_label(record, name), **style)
        point = np.searchsorted(fpr, 10 / n_negative * (1 - 1e-9))
        if point < len(fpr):
            axes.plot(fpr[point], tpr[point], "o", ms=5, color=style["color"], zorder=style["zorder"] + 0.5)
    axes.axvline(FPR, color="0.8", lw=1, zorder=0)
    axes.set(xscale="log", xlim=(1 / n_negative, 1), ylim=(-0.01, 1.01))
    axes.set_xlabel(f"false positive rate ({n_negative:,} negatives; dots: ten false positives)")
    axes.set_ylabel("true positive rate")
    axes.grid(color="0.93", lw=0.8)
    _finish(figure, axes, path)


def draw_completeness(record: Record, path: Path) -> None:
    """Completeness at a false positive rate of 1e-3: of detectable lenses by Einstein radius, of all by the S/N of the arcs."""
    figure = new_figure((10.4, 4.4))
    panels = figure.subplots(1, 2, sharey=True)
    labels = ("Einstein radius of detectable lenses (arcsec)", "total S/N of the arcs of all lenses (better of g and r)")
    for axes, key, label in zip(panels, ("theta_e", "arc_sn"), labels, strict=True):
        for name, style in _styles(record):
            bins = record["finders"][name]["sets"]["population"]["completeness"][key]
            _draw_bins(axes, bins, style, _label(record, name), is_log=key == "arc_sn")
        axes.set(xlabel=label, ylim=(-0.01, 1.01))
        axes.grid(color="0.93", lw=0.8)
    panels[1].set_xscale("log")
    panels[1].set_xticks(SN_TICKS, [f"{value:g}" for value in SN_TICKS])
    panels[1].minorticks_off()
    panels[0].set_ylabel("completeness at a false positive rate of 1e-3")
    _finish(figure, panels[1], path)


def _draw_bins(axes: Any, bins: list[dict[str, Any]], style: dict[str, Any], label: str, *, is_log: bool) -> None:
    """A line through the middles of the bins, with the 68 % intervals where it is ours."""
    kept = [entry for entry in bins if entry["n"] >= MIN_OBJECTS]
    middle = [np.sqrt(e["low"] * e["high"]) if is_log else 0.5 * (e["low"] + e["high"]) for e in kept]
    axes.plot(middle, [entry["fraction"] for entry in kept], label=label, marker="o", ms=3.5, **style)
    if style["color"] == OUR_COLOUR and kept:
        low, high = zip(*(entry["interval"] for entry in kept), strict=True)
        axes.fill_between(middle, low, high, color=OUR_COLOUR, alpha=0.2, lw=0)


def draw_reliability(record: Record, path: Path) -> None:
    """Calibrated score against the fraction of lenses at the training prior, on each of the two surveys."""
    places = [name for name in ("challenge", "challenge_shifted") if name in record["sets"]]
    figure = new_figure((2.3 + 4.1 * len(places), 4.5))
    panels = figure.subplots(1, len(places), sharey=True, squeeze=False)[0]
    for axes, place in zip(panels, places, strict=True):
        axes.plot([0, 1], [0, 1], color="0.75", lw=1, zorder=0)
        for name, style in _styles(record):
            curve = record["finders"][name]["sets"][place]["reliability"] or {"score": [], "fraction": [], "error": []}
            axes.plot(curve["score"], curve["fraction"], label=name, **style)
            if name == OURS:
                axes.errorbar(curve["score"], curve["fraction"], yerr=curve["error"], fmt="o", ms=4, color=OUR_COLOUR, lw=1.2)
        axes.set(xlabel="score", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set_title("survey as trained for" if place == "challenge" else "worse survey", fontsize=10)
        axes.grid(color="0.93", lw=0.8)
    panels[0].set_ylabel("fraction of lenses, classes weighted to the prior")
    _finish(figure, panels[-1], path, "")


PICTURES: dict[str, Callable[[Record, Path], None]] = {
    "roc.png": draw_roc,
    "completeness.png": draw_completeness,
    "reliability.png": draw_reliability,
}
"""Who draws which file."""


def _styles(record: Record) -> list[tuple[str, dict[str, Any]]]:
    """Line of each finder, the best first; the same in all pictures."""
    others = sorted(name for name in record["finders"] if name != OURS)
    return [(name, OUR_STYLE if name == OURS else line_style(others.index(name))) for name in finders_in_order(record)]


def _label(record: Record, name: str) -> str:
    return f"{record['finders'][name]['sets']['challenge']['metrics']['tpr_fpr1e3']['value']:.3f}  {name}"


def _finish(figure: Any, axes: Any, path: Path, title: str | None = "TPR at FPR 1e-3") -> None:
    """The legend to the right of `axes`, and the file."""
    legend_beside(axes, title)
    figure.savefig(path, format="png")
