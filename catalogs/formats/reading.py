"""What is checked before and around the reading of a catalog's files, which may be damaged, or a stranger's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surveycnn.errors import CatalogError, UserError

SAFE_CODECS = frozenset(
    {"bytes", "blosc", "crc32c", "gzip", "sharding_indexed", "transpose", "vlen-bytes", "vlen-utf8", "zstd", "numcodecs.zstd"}
)
"""Codecs of Zarr 3 that turn bytes into numbers or text. Others are plug-ins, and some of Zarr 2 run code."""

MAX_VALUES = 1 << 36
"""Values of a Zarr array: beyond any catalog; an array may declare more than there is memory for, and store nothing."""

MAX_PROPERTIES = 1 << 20
"""Bytes of a properties file, which has some dozens of lines."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever the reader of a broken file raises into a CatalogError that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise CatalogError(
            f"{str(path)!r} cannot be read ({type(error).__name__}: {error}): it is damaged, or not as surveycnn writes it: "
            "fetch it again, or publish the catalog again with `surveycnn run-flow publish`"
        ) from error


def read_properties(path: Path) -> dict[str, str]:
    """Entries ``name=value`` of a Java properties file, such as those of HATS."""
    with reading(path), path.open("rb") as stream:
        text = stream.read(MAX_PROPERTIES + 1).decode("utf-8")
        if len(text) > MAX_PROPERTIES:
            raise ValueError(f"more than {MAX_PROPERTIES} bytes")
    entries = {}
    for line in map(str.strip, re.sub(r"\\\r?\n[ \t]*", "", text).splitlines()):
        match = re.match(r"((?:\\.|[^\\=:\s])+)\s*[=:\s]\s*(.*)", line)
        if match is not None and line[0] not in "#!":
            name, value = (re.sub(r"\\(.)", r"\1", part) for part in match.groups())
            entries[name] = value
    return entries


def inner_folder(folder: Path, name: str) -> Path:
    """Folder of that name inside of `folder`; names that lead out of it are not followed."""
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise CatalogError(
            f"{str(folder)!r} names the folder {name[:200]!r}, which is not inside of it: it is damaged, or not opened"
        )
    return folder / name


def check_zarr(path: Path) -> None:
    """Raise CatalogError unless a store is of Zarr 3 with codecs of :data:`SAFE_CODECS` alone: only such stores are opened.

    Looks at the metadata of every node, and at the copies of them that the group has.
    """
    if not (path / "zarr.json").is_file():
        raise CatalogError(
            f"{str(path)!r} is no Zarr 3 store, which surveycnn writes and alone reads: convert it, or fetch it again"
        )
    for file in path.rglob("zarr.json"):
        with reading(file):
            tree = json.loads(file.read_text(encoding="utf-8"))
        for node in _nodes(tree):
            if node.get("node_type") == "array":
                _check_array(node, file)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a tree of plain values."""
    if isinstance(tree, dict):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(value)


def _check_array(node: dict[str, Any], file: Path) -> None:
    codecs = [codec if isinstance(codec, str) else codec.get("name") for codec in _codecs(node)]
    unsafe = [name for name in codecs if name not in SAFE_CODECS]
    if unsafe or node.get("storage_transformers"):
        raise CatalogError(
            f"{str(file)!r} asks for {f'the codec {unsafe[0]!r}' if unsafe else 'a storage transformer'}, not opened: known "
            f"codecs are {', '.join(sorted(SAFE_CODECS))}"
        )
    n_values = 1
    shape = node.get("shape")
    for length in shape if isinstance(shape, list) else [None]:
        if not isinstance(length, int) or length < 0:
            raise CatalogError(f"{str(file)!r} declares the shape {shape!r}: it is damaged: fetch it again")
        n_values *= length
    if n_values > MAX_VALUES:
        raise CatalogError(
            f"{str(file)!r} declares {n_values} values, expected at most {MAX_VALUES}: it is damaged: fetch it again"
        )


def _codecs(node: dict[str, Any]) -> Iterator[Any]:
    """Codecs of an array, and those inside of its shards."""
    for key in ("codecs", "index_codecs"):
        for codec in node.get(key) or ():
            yield codec
            if isinstance(codec, dict) and isinstance(codec.get("configuration"), dict):
                yield from _codecs(codec["configuration"])
