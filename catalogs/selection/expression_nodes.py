"""Parts of a condition: what each gives, how it is computed for arrays, and whether it may be true for rows of some bounds."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surveycnn.catalogs.selection.limits import Bounds

Columns = Mapping[str, np.ndarray]
Evaluate = Callable[[Columns], Any]
Possible = Callable[[Bounds], bool]

COMPARISONS = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Gt: ast.Lt, ast.GtE: ast.LtE, ast.Lt: ast.Gt, ast.LtE: ast.GtE}


@dataclass(frozen=True)
class Node:
    """A checked part of a condition: what it gives ("bool", "int", "float" or "str") and how."""

    kind: str
    evaluate: Evaluate
    column: str | None = None
    """Column whose values it gives as they are."""
    is_constant: bool = False
    possible: Possible | None = None
    """Whether it may be true for rows of some bounds; None where nothing is known."""


def wide(values: np.ndarray) -> np.ndarray:
    """Whole numbers in 64 bits, so that a constant that does not fit into the column's type is no error."""
    return values.astype(np.int64) if values.dtype.kind in "iu" else values


def as_plain(evaluate: Evaluate) -> Evaluate:
    """Constants as Python's numbers, which take the precision of the column that they are compared with."""

    def plain(columns: Columns) -> Any:
        value = evaluate(columns)
        return value.item() if isinstance(value, np.generic) else value

    return plain


def may_be_true(found: tuple[np.ndarray, np.ndarray] | None) -> bool:
    return found is None or bool(found[1][0])


def comparison_possible(kind: type[ast.cmpop], first: Node, second: Node) -> Possible | None:
    """Whether a comparison of a column with a constant may hold, found out by the comparison itself at the column's bounds."""
    if first.is_constant:
        first, second, kind = second, first, _MIRRORED.get(kind, kind)
    if first.column is None or not second.is_constant or kind is ast.NotEq:
        return None
    name, compare = first.column, COMPARISONS[kind]

    def possible(bounds: Bounds) -> bool:
        found = bounds(name)
        if found is None:
            return True
        (low, high), value = found, second.evaluate({})
        if kind is ast.Eq:
            return bool((low <= value)[0] and (high >= value)[0])
        return bool(compare(high if kind in (ast.Gt, ast.GtE) else low, value)[0])

    return possible


def member_of(column: Node, values: Sequence[Any]) -> Node:
    """Whether a column of whole numbers or text has one of some values; as many as wanted, as it takes one step for all."""
    name, known = str(column.column), np.unique(np.array(values, dtype=np.int64 if column.kind == "int" else object))
    texts = frozenset(values)

    def evaluate(columns: Columns) -> np.ndarray:
        rows = column.evaluate(columns)
        if column.kind == "str":
            return np.fromiter((row in texts for row in rows), dtype=bool, count=len(rows))
        return known[np.minimum(np.searchsorted(known, rows), len(known) - 1)] == rows

    def possible(bounds: Bounds) -> bool:
        found = bounds(name)
        return found is None or bool(np.searchsorted(known, found[0])[0] < np.searchsorted(known, found[1], side="right")[0])

    return Node("bool", evaluate, possible=possible)


def of_pair(function: Callable, left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda columns: function(left(columns), right(columns))


def folded(function: Callable, parts: list[Evaluate]) -> Evaluate:
    def evaluate(columns: Columns) -> np.ndarray:
        result = parts[0](columns)
        for part in parts[1:]:
            result = function(result, part(columns))
        return result

    return evaluate
