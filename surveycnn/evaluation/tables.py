"""Tables of text: aligned for a terminal, or in Markdown; the first row is the head."""

from __future__ import annotations

import re

from surveycnn.errors import printable

MISSING = "-"


def aligned_table(rows: list[list[str]]) -> str:
    """Rows in columns of even width.

    >>> print(aligned_table([["name", "n"], ["a", "12"]]))
    name  n
    a     12
    """
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def markdown_table(rows: list[list[str]]) -> str:
    """The same in Markdown; what a card or a file says stays text.

    >>> print(markdown_table([["name", "n"], ["a|b <i>", "12"]]))
    | name | n |
    |---|---|
    | a\\|b &lt;i> | 12 |
    """
    head, *body = (f"| {' | '.join(map(_markdown_text, row))} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def _markdown_text(text: str) -> str:
    """Text of a cell without what would end it, be a tag of HTML or a link."""
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", " ".join(printable(text).split()))
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("](", "]\\(")


def figure_text(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return MISSING if value is None else f"{value:.{digits}f}"
