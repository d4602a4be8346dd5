"""A picture of stamps: each with the wider sky that it was cut from and lines of text, in a grid."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

N_COLUMNS = 3
PER_PICTURE = 18
CELL = (6.2, 1.95)
"""Width and height of an object's place in the grid, inches."""
IMAGE = 1.72
"""Side of an image, inches."""
TEXT_WIDTH = 40
"""Characters of a line of text."""
DPI = 110
NO_DATA = 0.3
"""Grey of pixels without data."""
WEIGHTS = (1.8, 1.15, 0.85)
"""Of g, r, i in nJy: g - r = 0.5 and r - i = 0.3 are white."""
SOFTENING = 5.0
"""Flux over noise at which the stretch turns from linear to logarithmic."""


@dataclass(frozen=True)
class Shown:
    """One object of a picture."""

    title: str
    stamp: np.ndarray
    """(y, x, band) nJy as the models got them, bands g, r, i; NaN = no data."""
    wide: np.ndarray
    """The same of a wider sky, in its own pixels."""
    stamp_in_wide: float
    """Side of the stamp over that of the wider sky."""
    lines: list[str]
    by_eye: str = ""


def colour_image(fluxes: np.ndarray) -> np.ndarray:
    """(y, x, 3) red, green and blue in [0, 1] of (y, x, 3) nJy in g, r, i, after Lupton et al. (2004, PASP 116, 133).

    The same colour is the same ratio of fluxes in all pictures; the brightness is stretched for each image. NaN becomes grey.
    """
    has_data = np.isfinite(fluxes).all(axis=2)
    if not has_data.any():
        return np.full(fluxes.shape, NO_DATA)
    weighted = np.where(has_data[..., None], fluxes, 0)[..., ::-1] * np.array(WEIGHTS[::-1])
    total = weighted.mean(axis=2, keepdims=True)
    noise = _noise(total[has_data])
    total = np.maximum(total, 0.5 * noise)
    stretched = weighted * np.arcsinh(total / (SOFTENING * noise)) / total
    white = max(float(np.percentile(stretched[has_data], 99.5)), 1e-3)
    return np.where(has_data[..., None], np.clip(stretched / white, 0.0, 1.0), NO_DATA)


def _noise(values: np.ndarray) -> float:
    """Standard deviation of the sky, from the faintest pixels, as most of a stamp may be filled with light."""
    low, middle = np.percentile(values, (2.3, 16))
    return max(float(middle - low), 1e-6)


def draw_picture(objects: list[Shown], heading: str, path: Path) -> list[Path]:
    """Write PNG files of at most :data:`PER_PICTURE` objects each; the second one is called ``<name>_2.png``, and so on."""
    paths = []
    for start in range(0, len(objects), PER_PICTURE):
        number = start // PER_PICTURE + 1
        part = path if number == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}")
        _draw(objects[start : start + PER_PICTURE], start + 1, heading, part)
        paths.append(part)
    return paths


def _draw(objects: list[Shown], first: int, heading: str, path: Path) -> None:
    n_rows, head = -(-len(objects) // N_COLUMNS), 0.45
    width, height = CELL[0] * N_COLUMNS, CELL[1] * n_rows + head
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(0.1 / width, 1 - 0.12 / height, heading, va="top", fontsize=11)
    for index, shown in enumerate(objects):
        row, column = divmod(index, N_COLUMNS)
        left, bottom = column * CELL[0] + 0.1, height - head - (row + 1) * CELL[1] + 0.1
        places = [(left + k * (IMAGE + 0.06), bottom) for k in range(2)]
        axes = [figure.add_axes((x / width, y / height, IMAGE / width, IMAGE / height)) for x, y in places]
        _draw_images(axes, shown)
        x, y = left + 2 * (IMAGE + 0.06) + 0.04, bottom + IMAGE
        lines = [*shown.lines, *([f"by eye: {shown.by_eye}"] if shown.by_eye else [])]
        text = "\n".join(part for line in lines for part in textwrap.wrap(line, TEXT_WIDTH, subsequent_indent="   "))
        figure.text(x / width, y / height, f"{first + index}  {shown.title}", va="top", fontsize=9, weight="bold")
        figure.text(x / width, (y - 0.2) / height, text, va="top", fontsize=8.5, linespacing=1.35)
    figure.savefig(path, dpi=DPI)


def _draw_images(axes: list[Axes], shown: Shown) -> None:
    """The stamp, and the wider sky with the stamp's outline."""
    for panel, fluxes in zip(axes, (shown.stamp, shown.wide), strict=True):
        panel.imshow(colour_image(fluxes), origin="lower", extent=(-1, 1, -1, 1), interpolation="nearest")
        panel.axis("off")
    side = shown.stamp_in_wide
    axes[1].add_patch(Rectangle((-side, -side), 2 * side, 2 * side, fill=False, edgecolor="white", linewidth=0.8))
