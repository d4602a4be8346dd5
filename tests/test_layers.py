"""Imports go one way: a module may import its own layer and those below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS = [
    ["surveycnn"],
    ["surveycnn.errors", "surveycnn.bands", "surveycnn.paths", "surveycnn.sections", "surveycnn.full_disk", "surveycnn.durable"],
    ["surveycnn.deploy", "surveycnn.parsers"],
    ["surveycnn.schema"],
    ["surveycnn.catalogs.columns", "surveycnn.catalogs.flags", "surveycnn.catalogs.tables"],
    ["surveycnn.tables"],
    ["surveycnn.config", "surveycnn.mosaic_lists", "surveycnn.mosaic_patterns"],
    ["surveycnn.sky"],
    ["surveycnn.sources"],
    ["surveycnn.models"],
    ["surveycnn.inference", "surveycnn.simulation"],
    ["surveycnn.training"],
    ["surveycnn.photoz"],
    ["surveycnn.evaluation"],
    ["surveycnn.challenge"],
    ["surveycnn.catalogs"],
    ["surveycnn.report"],
    ["surveycnn.view"],
    ["surveycnn.run"],
    ["surveycnn.labels"],
    ["surveycnn.flows"],
    ["surveycnn.deployment"],
    ["surveycnn.commands"],
    ["surveycnn.cli"],
    ["surveycnn.__main__"],
]


def modules() -> dict[str, Path]:
    """Every module of the package, wherever the checkout keeps it."""
    found = {}
    for folder, package in (
        ("surveycnn", "surveycnn"),
        ("flows", "surveycnn.flows"),
        ("catalogs", "surveycnn.catalogs"),
        ("deploy", "surveycnn.deploy"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join((package, *parts))] = path
    return found


def layer_of(module: str) -> int:
    """Number of the layer of `module`, by the longest name that it begins with."""
    matches = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names
        if module == name or (name != "surveycnn" and module.startswith(name + "."))
    ]
    if not matches:
        raise AssertionError(f"{module} belongs to no layer: add it to LAYERS")
    return max(matches)[1]


def imports_of(path: Path, known: set[str]) -> set[str]:
    """Modules of ours that the file imports, anywhere in it, but for those it needs for type checking only."""
    tree = ast.parse(path.read_text())
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports break flow files that are loaded by path"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return {name for name in found if name.split(".")[0] == "surveycnn"}


@pytest.mark.parametrize("module", modules())
def test_imports__go_down(module):
    known = modules()
    for imported in imports_of(known[module], set(known)):
        assert imported in known, f"{module} imports {imported}, which does not exist"
        assert layer_of(imported) <= layer_of(module), f"{module} imports {imported}, which lies above it"


def test_tensorflow__is_imported_by_the_engines_only():
    allowed = "surveycnn.inference.engines."
    for module, path in modules().items():
        names = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)])
        }
        assert "tensorflow" not in names or module.startswith(allowed), (
            f"{module} imports tensorflow: models must run on any backend"
        )
