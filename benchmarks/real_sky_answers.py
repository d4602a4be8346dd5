"""What the morphology and the merger models say of an object, as short lines of text, and labels that were given by eye."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from surveycnn.catalogs.flags import decode_flags
from surveycnn.errors import InputError

Answers = Mapping[str, float]
"""A row of the catalog: its columns ``morph_*``, ``merger_*`` and ``flags``, as far as there are."""

PARENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "how_rounded": (("smooth_or_featured", "smooth"),),
    "disk_edge_on": (("smooth_or_featured", "featured_or_disk"),),
    "has_spiral_arms": (("smooth_or_featured", "featured_or_disk"), ("disk_edge_on", "no")),
    "bar": (("smooth_or_featured", "featured_or_disk"), ("disk_edge_on", "no")),
    "bulge_size": (("smooth_or_featured", "featured_or_disk"), ("disk_edge_on", "no")),
}
"""Answers that a volunteer must have given before a question is asked."""
RELEVANT = 0.3
"""Questions that fewer volunteers would be asked are left out."""
BY_EYE_COLUMNS = ("mosaic", "x", "y", "label")
BY_EYE_PX = 5.0
"""Largest distance between a source and the position of a label, in pixels."""

ByEye = Sequence[tuple[str, float, float, str]]


def relevance(answers: Answers, question: str) -> float:
    """Share of the volunteers who are asked `question`: the product of its parents' expected fractions.

    >>> relevance({"morph_smooth_or_featured_featured_or_disk": 0.8, "morph_disk_edge_on_no": 0.5}, "bar")
    0.4
    """
    return float(np.prod([answers[f"morph_{parent}_{answer}"] for parent, answer in PARENTS.get(question, ())]))


def answer_lines(answers: Answers) -> list[str]:
    """Lines for the models whose columns `answers` holds; fractions are followed by @ and the relevance of their question."""
    lines = [*_morphology_lines(answers), *_merger_lines(answers)]
    flags = [flag for flag in decode_flags(int(answers.get("flags", 0))) if not flag.startswith("outside_domain")]
    outside = [
        task for task in ("morphology", "merger") if f"outside_domain_{task}" in decode_flags(int(answers.get("flags", 0)))
    ]
    if outside:
        flags.append("outside domain of " + ", ".join(outside))
    return [*lines, *([", ".join(flags)] if flags else [])]


def _morphology_lines(answers: Answers) -> list[str]:
    if "morph_smooth_or_featured_smooth" not in answers:
        return []
    smooth, featured, artifact = (
        answers[f"morph_smooth_or_featured_{name}"] for name in ("smooth", "featured_or_disk", "artifact")
    )
    if np.isnan(smooth):
        return ["morphology: no number"]
    lines = [f"smooth {smooth:.2f} featured {featured:.2f} artifact {artifact:.2f}"]
    parts = [
        _part(answers, "edge-on", "disk_edge_on", ("yes",)),
        _part(answers, "spiral", "has_spiral_arms", ("yes",)),
        _part(answers, "bar", "bar", ("strong", "weak")),
        _part(answers, "round", "how_rounded", ("round",)),
        _part(answers, "cigar", "how_rounded", ("cigar",)),
    ]
    rows = (parts[:1], parts[1:3], parts[3:])
    return [*lines, *("  ".join(filter(None, row)) for row in rows if any(row))]


def _part(answers: Answers, title: str, question: str, wanted: tuple[str, ...]) -> str:
    """Sum of the expected fractions of the answers `wanted`; empty where the question is not relevant."""
    share = relevance(answers, question)
    if not share >= RELEVANT:
        return ""
    return f"{title} {sum(answers[f'morph_{question}_{answer}'] for answer in wanted):.2f} @{share:.2f}"


def _merger_lines(answers: Answers) -> list[str]:
    if "merger_score" not in answers:
        return []
    if np.isnan(answers["merger_score"]):
        return ["merger: no number"]
    first = f"merger {answers['merger_score']:.2f} (survey prior: {answers['merger_prob']:.3f})"
    return [first, f"time {answers['merger_time']:.0f} +- {answers['merger_time_err']:.0f} Myr, if merger"]


def read_by_eye(path: Path) -> ByEye:
    """Labels of a CSV file with the columns of :data:`BY_EYE_COLUMNS`; x, y are pixels of the mosaic.

    Raises
    ------
    InputError
        Where a column is missing.
    """
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [name for name in BY_EYE_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{str(path)!r} has no column {', '.join(missing)}: it needs {', '.join(BY_EYE_COLUMNS)}")
        return [(row["mosaic"], float(row["x"]), float(row["y"]), row["label"]) for row in reader]


def label_at(by_eye: ByEye, mosaic: str, x: float, y: float) -> str:
    """Label of the nearest position within :data:`BY_EYE_PX` in this mosaic; empty where there is none.

    >>> label_at([("m1", 10.0, 20.0, "spiral")], "m1", 11.0, 20.5), label_at([("m1", 10.0, 20.0, "spiral")], "m2", 11.0, 20.5)
    ('spiral', '')
    """
    near = [(float(np.hypot(x - at_x, y - at_y)), label) for name, at_x, at_y, label in by_eye if name == mosaic]
    distance, label = min(near, default=(np.inf, ""))
    return label if distance <= BY_EYE_PX else ""
