"""Queries: conditions from a grammar and mutated ones, cones, columns and sort keys, in Python and by the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz.catalog_files import write_catalog
from benchmarks.fuzz.command import run_command
from benchmarks.fuzz.mutate import NUMBERS, WORDS, mutated_text
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.selection.expression import FUNCTIONS

COLUMNS = ("source_id", "ra", "dec", "flux_r", "flags", "is_primary", "mosaic", "z_phot", "pz_weight", "pz_weight[0]", "nothing")
CONDITIONS = (
    "z_phot > 0.5 and not has_flag('edge')",
    "0 < z_phot <= 1 or mosaic == 'm1'",
    "mosaic in ('m1', 'm2') and is_primary",
    "(flags & 3) == 0 and ~is_primary | (ra > 150)",
    "sqrt(ra**2 + dec**2) / 2 > minimum(dec, 1) % 3",
    "pz_weight[0] >= 0.25 and isfinite(z_phot)",
    "abs(-flux_r) // 1e3 != 7",
)
TOKENS = (
    *(
        "and",
        "or",
        "not",
        "in",
        "is",
        "if",
        "else",
        "lambda x:",
        "for x in",
        "await",
        ":=",
        "**",
        "<<",
        ">>",
        "@",
        "~",
        "!=",
        "<=",
        ".",
    ),
    *("(", ")", "[", "]", "{", "}", ",", ":", "'", "f'{ra}'", "b'x'", "...", "9**9**9", "1j", "0x7fffffffffffffff", "1e999", "-"),
    *(
        "__import__('os').system('x')",
        "ra.__class__",
        "().__class__.__bases__",
        "print(1)",
        "exec('1')",
        "*ra",
        "ra[:]",
        "[ra for ra in ra]",
    ),
    *(
        "'a' * 10**9",
        "'x' + 'y'",
        "('a',) * 9",
        "has_flag('x')",
        "has_flag(ra)",
        "pz_weight[10**9]",
        "pz_weight[-1]",
        "abs(ra, dec)",
    ),
    *COLUMNS,
    *FUNCTIONS,
)


MAX_LENGTH = 3_000_000


@dataclass(frozen=True)
class Query:
    """Arguments of a query, by name, and whether the command line is to run it."""

    folder: Path
    where: str | None = None
    cone: tuple[Any, ...] | None = None
    columns: list[str] = field(default_factory=list)
    top: int | None = None
    by: str | None = None
    is_command: bool = False


def prepare(seeds: Path) -> None:
    """A small catalog."""
    write_catalog(seeds / "catalog")


def valid_cases(seeds: Path, folder: Path) -> list[Query]:
    """The conditions as they are, and every argument of the command."""
    folder = seeds / "catalog"
    queries = [Query(folder, condition) for condition in CONDITIONS]
    return [*queries, Query(folder, CONDITIONS[0], (150.0, 2.0, 60.0), ["ra", "dec"], 3, "z_phot", is_command=True)]


def make_case(rng: Random, seeds: Path, folder: Path) -> Query:
    """A query of which mostly the condition is odd."""
    where: str | None = rng.choice((_condition, _condition, _grammar, _mutated, _large))(rng)[:MAX_LENGTH]
    cone = tuple(_float(rng) for _ in range(3)) if rng.random() < 0.2 else None
    columns = [rng.choice((*COLUMNS, *WORDS)) for _ in range(rng.randrange(5))] if rng.random() < 0.2 else []
    top, by = None, None
    if rng.random() < 0.2:
        top, by = rng.choice((0, 1, 3, -1, 2**31, 2**63, 10**30)), rng.choice((*COLUMNS, *WORDS))
        where = rng.choice((where, None))
    return Query(seeds / "catalog", where, cone, columns, top, by, rng.random() < 0.15)


def run_case(case: Query) -> str:
    """Rows of a query, in Python or by ``surveycnn query``."""
    if case.is_command:
        return run_command(_arguments(case))
    found = open_catalog(case.folder)
    if case.cone:
        found = found.cone(*case.cone)
    if case.where is not None:
        found = found.where(case.where)
    if case.top is not None and case.by is not None:
        found = found.top(case.top, by=case.by)
    if case.columns:
        found = found.select(case.columns)
    len(found)
    return "rows" if found.to_arrow().num_rows else "no rows"


def _arguments(case: Query) -> list[str]:
    given = ["query", str(case.folder)]
    if case.cone:
        given += ["--cone", *map(str, case.cone)]
    if case.where is not None:
        given += [f"--where={case.where}"]
    if case.top is not None:
        given += [f"--top={case.top}", f"--by={case.by}"]
    if case.columns:
        given += [f"--columns={','.join(case.columns)}"]
    return given


def _float(rng: Random) -> float:
    value = rng.choice((*NUMBERS, float("nan"), float("inf"), rng.uniform(-400, 400)))
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _mutated(rng: Random) -> str:
    return mutated_text(rng, rng.choice(CONDITIONS), TOKENS)


def _large(rng: Random) -> str:
    """Conditions that are long, deep, or take long in a parser or interpreter that does not watch."""
    n = rng.choice((10, 90, 150, 1000, 5000, 20000))
    part = rng.choice(("ra", "1", "ra > 1", "-1", "'a'", "(ra)", "pz_weight[0]", "0x" + "f" * 50, "9" * 5000, "1e" + "9" * 90))
    joint = rng.choice(("+", "*", "**", "and", "or", "==", "<", "&", "|", ",", "//", "-", "if 1 else", " "))
    outside = rng.choice(
        (("(", ")"), ("not ", ""), ("~", ""), ("-", ""), ("abs(", ")"), ("[", "]"), ("pz_weight[", "]"), ("ra[", "]"))
    )
    way = rng.randrange(5)
    if way == 0:
        return f" {joint} ".join([part] * n)
    if way == 1:
        return outside[0] * n + part + outside[1] * n + " > 0"
    if way == 2:
        return f"{part} in ({', '.join(rng.choice(('1', 'ra', repr('x'))) for _ in range(n))})"
    if way == 3:
        return f"mosaic == {'x' * n * 50!r}"
    return " and ".join(rng.choice(CONDITIONS) for _ in range(n // 5))


def _condition(rng: Random, depth: int = 0) -> str:
    """A sentence that is understood in most cases: true or false of numbers."""
    if depth > 4 or rng.random() < 0.4:
        simple = ("is_primary", "mosaic == 'm1'", "mosaic not in ('m1', 'x')", "has_flag('edge')", "True", "isnan(z_phot)")
        left, right, middle = (_quantity(rng) for _ in range(3))
        sign, other = (rng.choice(("<", "<=", ">", ">=", "==", "!=")) for _ in range(2))
        return rng.choice(
            (*simple, f"{left} {sign} {right}", f"{left} {sign} {middle} {other} {right}", f"{left} in ({right}, {middle})")
        )
    left, right = _condition(rng, depth + 1), _condition(rng, depth + 1)
    return rng.choice((f"({left}) {rng.choice(('and', 'or', '&', '|', '^'))} ({right})", f"not ({left})", f"~({left})"))


def _quantity(rng: Random, depth: int = 0) -> str:
    """A number of columns and constants, some of which leave every range."""
    if depth > 4 or rng.random() < 0.4:
        columns = ("ra", "dec", "source_id", "flags", "z_phot", "flux_r", "pz_weight[1]", "pz_mean[-1]")
        constant = rng.choice((0, 1, -1, 3, 0.5, 2**31, 2**62, 2**63 - 1, 1e300, 1e-300, 1e39, rng.uniform(-400, 400)))
        return rng.choice((*columns, repr(constant)))
    left, right = _quantity(rng, depth + 1), _quantity(rng, depth + 1)
    return rng.choice(
        (
            f"({left} {rng.choice(('+', '-', '*', '/', '//', '%', '**'))} {right})",
            f"-{left}",
            f"{rng.choice(('abs', 'sqrt', 'log10', 'floor', 'exp', 'sin', 'degrees'))}({left})",
            f"{rng.choice(('minimum', 'maximum'))}({left}, {right})",
            rng.choice(("flags & 3", "~source_id", "source_id ^ 255", "flags | source_id")),
        )
    )


def _grammar(rng: Random, depth: int = 0) -> str:
    """A sentence of more than the syntax that is understood."""
    if depth > 5 or rng.random() < 0.25:
        return rng.choice(
            (rng.choice(COLUMNS), repr(rng.choice(NUMBERS[:-20])), repr(rng.choice(WORDS)), str(rng.uniform(-5, 5)), "True")
        )
    left, right = _grammar(rng, depth + 1), _grammar(rng, depth + 1)
    return rng.choice(
        (
            f"{left} {rng.choice(('>', '<', '>=', '<=', '==', '!=', 'in', 'not in', 'is'))} {right}",
            f"({left}) {rng.choice(('>', '<', '==', '!='))} ({right})",
            f"({left} {rng.choice(('and', 'or', '&', '|', '^', 'if', ','))} {right})",
            f"({left} {rng.choice(('+', '-', '*', '/', '//', '%', '**', '<<', '@'))} {right})",
            f"{rng.choice(('not ', '~', '-', '+'))}({left})",
            f"{rng.choice((*FUNCTIONS, 'eval', 'len'))}({rng.choice((left, f'{left}, {right}', '', f'*{left}', f'a={left}'))})",
            f"({left})[{right}]",
        )
    )
