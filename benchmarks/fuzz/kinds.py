"""The kinds of input that are fuzzed, by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any, Protocol, cast

KINDS = ("fits_headers", "fits_bytes", "config", "catalogs", "tables", "where", "work_dir", "packages")

DEFAULT_SECONDS = 20.0
DEFAULT_MEMORY_MB = 512.0


class Kind(Protocol):
    """What a module of a kind has."""

    def prepare(self, seeds: Path) -> None: ...

    def valid_cases(self, seeds: Path, folder: Path) -> Iterable[Any]: ...

    def make_case(self, rng: Random, seeds: Path, folder: Path) -> Any: ...

    def run_case(self, case: Any) -> str: ...


def load_kind(name: str) -> Kind:
    """The module of a kind: one of :data:`KINDS`, or any module by its dotted name."""
    return cast(Kind, importlib.import_module(f"benchmarks.fuzz.{name}" if name in KINDS else name))


def limits(kind: Kind) -> tuple[float, float]:
    """Seconds and megabytes that a case of a kind may take."""
    return getattr(kind, "SECONDS", DEFAULT_SECONDS), getattr(kind, "MEMORY_MB", DEFAULT_MEMORY_MB)


def chance(name: str, seed: int, number: int) -> Random:
    """The random numbers of one case."""
    return Random(f"{name}/{seed}/{number}")
