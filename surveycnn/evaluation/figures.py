"""How pictures are drawn: no window, no global state, and colours that people of any colour vision tell apart.

The colours are those of Okabe and Ito; where they run out, lines are dashed.
"""

from __future__ import annotations

from typing import Any

COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
OUR_COLOUR = "#0072B2"
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
DPI = 130


def new_figure(size: tuple[float, float]) -> Any:
    """An empty figure of `size` inches that belongs to no window and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def line_style(index: int) -> dict[str, Any]:
    """Line of the method number `index`; ours has a colour of its own."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "ls": DASHES[index // len(COLOURS) % len(DASHES)],
        "lw": 1.4,
        "zorder": 3,
    }


OUR_STYLE: dict[str, Any] = {"color": OUR_COLOUR, "lw": 2.6, "ls": "-", "zorder": 5}


def legend_beside(axes: Any, title: str | None = None) -> None:
    """The legend to the right of `axes`."""
    options = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False, "fontsize": 9, "title_fontsize": 9}
    legend = axes.legend(title=title, **options)
    legend.set_alignment("left")
