"""The pixels behind a catalog: chunk stores in the work directory of its run, while that is there and of the same run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from surveycnn.catalogs.source import PROVENANCE
from surveycnn.config import NAME_PATTERN
from surveycnn.durable import read_json
from surveycnn.errors import CatalogError
from surveycnn.paths import is_url
from surveycnn.run.store import WorkStore
from surveycnn.sky.chunks import ChunkStore


def work_of(catalog: str | Path) -> WorkStore:
    """The work directory of a catalog: the folder ``work`` inside it, or the one that its provenance names.

    Raises
    ------
    CatalogError
        Where neither is there any more, or both are of other runs.
    """
    record = read_json(Path(catalog) / PROVENANCE) or {}
    config = record.get("config")
    named = config.get("work_dir") if isinstance(config, dict) else None
    roots = [Path(catalog) / "work"]
    # the provenance of a stranger may name any place, but none on a network is looked at
    if isinstance(named, str) and named and not is_url(named) and "\0" not in named:
        roots.append(Path(named))
    stores = [WorkStore(root) for root in roots if (root / "plan.json").is_file()]
    if not stores:
        found = f"the work directory {str(roots[-1])!r} of this catalog, which holds the pixels, is gone"
        raise CatalogError(f"{found}: put it back, or run the survey again")
    for store in stores:
        if (store.read_plan() or {}).get("digest") == record.get("run_digest"):
            return store
    found = f"the work directory {str(stores[0].root)!r} belongs to another run than this catalog"
    raise CatalogError(f"{found}: finish that run, or take the catalog that it has made")


def chunks_of(catalog: str | Path) -> Callable[[str], ChunkStore]:
    """What opens the pixels of a mosaic in the work directory of a catalog, if that is still there and of the same run."""

    def open_chunks(mosaic: str) -> ChunkStore:
        store = work_of(catalog)
        if not re.fullmatch(NAME_PATTERN, mosaic):
            raise CatalogError(f"{mosaic[:100]!r} is no name of a mosaic: its pixels are not looked for")
        return ChunkStore.open(store.chunk_path(mosaic))

    return open_chunks
