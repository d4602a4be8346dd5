"""Conditions on columns, such as ``lens_prob > 0.9 and z_phot < 1``: parsed from a whitelist of syntax, never evaluated as code.

Python's parser gives the tree, of which only comparisons, logic, arithmetic, a few functions, column names and constants are
understood. Names and kinds are checked when the condition is written, before rows are read; what remains is a function of arrays.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.flags import BY_NAME, flag_value
from surveycnn.catalogs.selection.expression_nodes import (
    COMPARISONS,
    Columns,
    Node,
    as_plain,
    comparison_possible,
    folded,
    may_be_true,
    member_of,
    of_pair,
    wide,
)
from surveycnn.catalogs.selection.limits import Bounds, all_possible, any_possible
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import CatalogError, did_you_mean

_ARITHMETIC: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.float_power,  # an integer power of an integer may not be one
}
_BITS = {ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor}
_NUMBER_FUNCTIONS = {
    "abs": np.abs,
    "log10": np.log10,
    "log": np.log,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "radians": np.radians,
    "degrees": np.degrees,
    "floor": np.floor,
    "ceil": np.ceil,
}
_TEST_FUNCTIONS = {"isfinite": np.isfinite, "isnan": np.isnan}
_PAIR_FUNCTIONS = {"minimum": np.minimum, "maximum": np.maximum}
MAX_LENGTH = 500_000
"""Characters of a condition: a list of some ten thousand ids."""
FUNCTIONS = (*_NUMBER_FUNCTIONS, *_TEST_FUNCTIONS, *_PAIR_FUNCTIONS, "has_flag")


@dataclass(frozen=True)
class Expression:
    """A checked condition."""

    text: str
    columns: tuple[str, ...]
    """Columns that it needs, in the order of first use."""
    _node: Node
    _schema: pa.Schema
    """Of the columns that it needs."""

    def __call__(self, columns: Columns, n_rows: int) -> np.ndarray:
        """Boolean array of shape (n_rows,): True where the condition holds; NaN compares False, but for ``!=``."""
        try:
            with np.errstate(all="ignore"):
                return np.broadcast_to(np.asarray(self._node.evaluate(columns), dtype=bool), (n_rows,))
        except OverflowError:
            raise CatalogError(f"condition {_shown(self.text)!r}: whole numbers in it leave 64 bits: write them as 1.0") from None

    def possible(self, bounds: Bounds) -> bool:
        """Whether the condition may hold for a row of these bounds."""
        if self._node.possible is None:
            return True
        with np.errstate(all="ignore"):
            return self._node.possible(bounds)

    def __reduce__(self) -> tuple[Callable[..., Expression], tuple[str, pa.Schema]]:
        return parse_condition, (self.text, self._schema)  # its functions do not go to other machines


def parse_condition(text: str, schema: pa.Schema) -> Expression:
    """Condition written in `text` on the columns of `schema`.

    Constants take the precision of the column that they are compared with: ``lens_prob >= 0.9`` holds for float32(0.9).

    Raises
    ------
    CatalogError
        For syntax that is not understood, unknown columns (with close matches), and kinds that do not go together.
    """
    if len(text) > MAX_LENGTH:
        raise CatalogError(f"condition of {len(text)} characters, expected at most {MAX_LENGTH}: match a table by crossmatch")
    parser = _Parser(text.strip(), schema)
    try:
        node = parser.visit(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        raise CatalogError(f"condition {_shown(text)!r} cannot be read: {getattr(error, 'msg', error)}") from None
    except (RecursionError, MemoryError):
        raise CatalogError(f"condition of {len(text)} characters is nested too deeply") from None
    if node.kind != "bool":
        raise CatalogError(f"condition {_shown(text)!r} gives {_a(node.kind)}, expected true or false: compare it with something")
    needed = pa.schema([schema.field(name) for name in parser.used])
    expression = Expression(text, tuple(parser.used), node, needed)
    # numbers that leave their types do so without rows, too
    expression({field.name: arrow_to_numpy(pa.chunked_array([], type=field.type)) for field in needed}, 0)
    return expression


def unknown_column(name: str, known: Iterable[str]) -> CatalogError:
    """Error for a column that does not exist, with those that are spelt alike."""
    names = list(known)
    parts = [other for other in names if name.lower() in other.lower()][:4]
    hint = did_you_mean(name, names, n=4, cutoff=0.5) or did_you_mean(name, parts, n=4, cutoff=0.0)
    return CatalogError(f"there is no column {name!r}: {hint.strip() or 'there are ' + ', '.join(names)}")


class _Parser:
    """Turns syntax trees into checked nodes and remembers the columns that they use."""

    def __init__(self, text: str, schema: pa.Schema):
        self._text = text
        self._schema = schema
        self.used: dict[str, None] = {}

    def visit(self, tree: ast.expr) -> Node:
        method = getattr(self, f"_{type(tree).__name__.lower()}", None)
        if method is None:
            raise CatalogError(
                f"condition: {self._source(tree)!r} is not understood: use comparisons, and, or, not, arithmetic, functions"
            )
        return method(tree)

    def _source(self, tree: ast.AST) -> str:
        return _shown(ast.get_source_segment(self._text, tree) or ast.dump(tree))

    def _numeric(self, tree: ast.expr) -> Node:
        node = self.visit(tree)
        if node.kind not in ("int", "float"):
            raise CatalogError(f"condition: {self._source(tree)!r} is {_a(node.kind)}, expected a number")
        return node

    def _logical(self, tree: ast.expr) -> Node:
        node = self.visit(tree)
        if node.kind != "bool":
            raise CatalogError(f"condition: {self._source(tree)!r} is {_a(node.kind)}, expected true or false")
        return node

    def _constant(self, tree: ast.Constant) -> Node:
        kinds = {bool: "bool", int: "int", float: "float", str: "str"}
        if type(tree.value) not in kinds:
            raise CatalogError(f"condition: {self._source(tree)!r} is not understood: constants are numbers, text, True, False")
        value = tree.value
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise CatalogError(f"condition: {value} does not fit into 64 bits")
        return Node(kinds[type(value)], lambda columns: value, is_constant=True)

    def _name(self, tree: ast.Name) -> Node:
        kind = self._column(tree.id)
        if pa.types.is_fixed_size_list(kind):
            raise CatalogError(f"condition: column {tree.id!r} has {kind.list_size} values per row: write {tree.id}[0], ...")
        return Node(
            _kind(kind), lambda columns: wide(columns[tree.id]), tree.id, possible=lambda bounds: may_be_true(bounds(tree.id))
        )

    def _subscript(self, tree: ast.Subscript) -> Node:
        try:
            index = ast.literal_eval(tree.slice)
        except (ValueError, TypeError):
            index = None
        if not isinstance(tree.value, ast.Name) or type(index) is not int:
            raise CatalogError(f"condition: {self._source(tree)!r} is not understood: an index is column[whole number]")
        name = tree.value.id
        kind = self._column(name)
        if not pa.types.is_fixed_size_list(kind):
            raise CatalogError(f"condition: column {name!r} has one value per row: leave out the index")
        if not -kind.list_size <= index < kind.list_size:
            raise CatalogError(f"condition: {self._source(tree)!r} is out of range: it has values 0 to {kind.list_size - 1}")
        return Node(_kind(kind.value_type), lambda columns: wide(columns[name][:, index]), name)

    def _column(self, name: str) -> pa.DataType:
        if name not in self._schema.names:
            raise unknown_column(name, self._schema.names)
        self.used[name] = None
        return self._schema.field(name).type

    def _boolop(self, tree: ast.BoolOp) -> Node:
        parts = [self._logical(value) for value in tree.values]
        combine, join = (np.logical_and, all_possible) if isinstance(tree.op, ast.And) else (np.logical_or, any_possible)
        return Node("bool", folded(combine, [part.evaluate for part in parts]), possible=join([part.possible for part in parts]))

    def _unaryop(self, tree: ast.UnaryOp) -> Node:
        if isinstance(tree.op, ast.Not):
            part = self._logical(tree.operand)
            return Node("bool", lambda columns: np.logical_not(part.evaluate(columns)))
        if isinstance(tree.op, ast.Invert):
            part = self.visit(tree.operand)
            if part.kind not in ("bool", "int"):
                raise CatalogError(
                    f"condition: ~ needs a condition or a whole number, {self._source(tree.operand)!r} is {_a(part.kind)}"
                )
            return Node(part.kind, lambda columns: np.invert(part.evaluate(columns)))
        part = self._numeric(tree.operand)
        sign = operator.neg if isinstance(tree.op, ast.USub) else operator.pos
        return Node(part.kind, lambda columns: sign(part.evaluate(columns)), is_constant=part.is_constant)

    def _binop(self, tree: ast.BinOp) -> Node:
        if type(tree.op) in _BITS:
            return self._bits(tree)
        if type(tree.op) not in _ARITHMETIC:
            raise CatalogError(f"condition: {self._source(tree)!r} is not understood: arithmetic is + - * / // % **")
        left, right = self._numeric(tree.left), self._numeric(tree.right)
        exact = left.kind == right.kind == "int" and not isinstance(tree.op, ast.Div | ast.Pow)
        is_constant = left.is_constant and right.is_constant
        evaluate = of_pair(_ARITHMETIC[type(tree.op)], left.evaluate, right.evaluate)
        return Node("int" if exact else "float", as_plain(evaluate) if is_constant else evaluate, is_constant=is_constant)

    def _bits(self, tree: ast.BinOp) -> Node:
        left, right = self.visit(tree.left), self.visit(tree.right)
        if left.kind != right.kind or left.kind not in ("bool", "int"):
            raise CatalogError(
                f"condition: {self._source(tree)!r} joins {_a(left.kind)} and {_a(right.kind)}: "
                "& and | bind more tightly than comparisons, so use and, or, or put parentheses around each comparison"
            )
        join = {ast.BitAnd: all_possible, ast.BitOr: any_possible}.get(type(tree.op)) if left.kind == "bool" else None
        possible = join([left.possible, right.possible]) if join is not None else None
        return Node(left.kind, of_pair(_BITS[type(tree.op)], left.evaluate, right.evaluate), possible=possible)

    def _compare(self, tree: ast.Compare) -> Node:
        operands = [tree.left, *tree.comparators]
        for middle in operands[1:-1]:
            if isinstance(middle, ast.BinOp) and type(middle.op) in _BITS:
                raise CatalogError(
                    f"condition: {self._source(tree)!r} reads as {self._source(middle)!r} first: use and, or instead of &, |"
                )
        tests = [
            self._comparison(operator_, left, right)
            for operator_, left, right in zip(tree.ops, operands[:-1], operands[1:], strict=True)
        ]
        possible = all_possible([test.possible for test in tests])
        return Node("bool", folded(np.logical_and, [test.evaluate for test in tests]), possible=possible)

    def _comparison(self, operator_: ast.cmpop, left: ast.expr, right: ast.expr) -> Node:
        if isinstance(operator_, ast.In | ast.NotIn):
            return self._membership(isinstance(operator_, ast.NotIn), left, right)
        if type(operator_) not in COMPARISONS:
            raise CatalogError("condition: 'is' is not understood: use == or isnan()")
        first, second = self.visit(left), self.visit(right)
        if (first.kind == "str") != (second.kind == "str") or (first.kind == "bool") != (second.kind == "bool"):
            raise CatalogError(
                f"condition: {self._source(left)!r} is {_a(first.kind)} and {self._source(right)!r} is {_a(second.kind)}: "
                "compare like with like"
            )
        kind = type(operator_)
        return Node(
            "bool", of_pair(COMPARISONS[kind], first.evaluate, second.evaluate), possible=comparison_possible(kind, first, second)
        )

    def _membership(self, negated: bool, left: ast.expr, right: ast.expr) -> Node:
        """``mosaic in ("a", "b")``: an equality with each element."""
        if not isinstance(right, ast.Tuple | ast.List) or not right.elts:
            raise CatalogError(f"condition: {self._source(right)!r} after in is not understood: write a list such as (1, 2)")
        tests = [self._comparison(ast.Eq(), left, element) for element in right.elts]
        found = self._one_of(left, right.elts) or Node(
            "bool",
            folded(np.logical_or, [test.evaluate for test in tests]),
            possible=any_possible([test.possible for test in tests]),
        )
        return Node("bool", lambda columns: np.logical_not(found.evaluate(columns))) if negated else found

    def _one_of(self, left: ast.expr, elements: list[ast.expr]) -> Node | None:
        """The same test of a column for all of some whole numbers or texts at once; None for others."""
        column, values = self.visit(left), [getattr(element, "value", None) for element in elements]
        types = {type(value) for value in values}
        if column.column is None or types != {{"int": int, "str": str}.get(column.kind)}:
            return None
        return member_of(column, values)

    def _call(self, tree: ast.Call) -> Node:
        name = tree.func.id if isinstance(tree.func, ast.Name) else self._source(tree.func)
        if name not in FUNCTIONS or tree.keywords:
            raise CatalogError(f"condition: function {name!r} is not understood: there are {', '.join(FUNCTIONS)}")
        expected = 2 if name in _PAIR_FUNCTIONS else 1
        if len(tree.args) != expected:
            raise CatalogError(f"condition: {name} takes {expected} argument(s), found {len(tree.args)}")
        if name == "has_flag":
            return self._has_flag(tree.args[0])
        parts = [self._numeric(argument) for argument in tree.args]
        function = (_NUMBER_FUNCTIONS | _TEST_FUNCTIONS | _PAIR_FUNCTIONS)[name]
        same = name == "abs" or name in _PAIR_FUNCTIONS
        whole = same and all(part.kind == "int" for part in parts)
        kind = "bool" if name in _TEST_FUNCTIONS else "int" if whole else "float"
        is_constant = kind != "bool" and all(part.is_constant for part in parts)

        def evaluate(columns: Columns) -> Any:
            return function(*(part.evaluate(columns) for part in parts))

        return Node(kind, as_plain(evaluate) if is_constant else evaluate, is_constant=is_constant)

    def _has_flag(self, argument: ast.expr) -> Node:
        name = argument.value if isinstance(argument, ast.Constant) else None
        if name not in BY_NAME:
            raise CatalogError(f"condition: no flag {self._source(argument)}: there are {', '.join(BY_NAME)}")
        self._column("flags")
        return Node("bool", lambda columns: (columns["flags"] & flag_value(str(name))) != 0)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int"
    return "float" if pa.types.is_floating(kind) else "str"


def _shown(text: str) -> str:
    """As much of a condition as a message has room for."""
    return text if len(text) <= 200 else text[:197] + "..."


def _a(kind: str) -> str:
    return {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}[kind]
