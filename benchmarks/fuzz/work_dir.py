"""Work directories of runs, of which files are mutated: status, plan, publish, verify, and the reading of tiles."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.fuzz.command import run_command
from benchmarks.fuzz.images import CORE_PX, survey, write_images, write_survey
from benchmarks.fuzz.mutate import mutated_bytes, mutated_tree
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.config import load_config
from surveycnn.errors import UserError
from surveycnn.run.plan import check_run
from surveycnn.run.publish import catalog_schema
from surveycnn.run.store import TileRecord, WorkStore
from surveycnn.run.survey import run_ingest
from surveycnn.sky.chunks import ChunkStore

MEMORY_MB = 800
PIECES = ("failed", "quarantined", "done", "../../x", [10**9, 10**9], {"name": "numcodecs.pickle"}, {"state": "failed"}, 2**62)
TOKENS = (b"PAR1", b"surveycnn.tile", b"unit_id", b"\x00\x00\x00\x00", b'"', b"{", b"}", b"null", b"\x28\xb5\x2f\xfd", b"1e999")


@dataclass(frozen=True)
class Given:
    """A run and what is done with it."""

    config: Path
    operation: str


def prepare(seeds: Path) -> None:
    """A run that is finished: bands in the chunk store, a table of made-up rows for each tile, a catalog."""
    write_images(seeds)
    path = write_survey(seeds, _survey(seeds, seeds))
    config = load_config(path)
    run_ingest(config)
    plan, store = check_run(config), WorkStore(config.work_path)
    schema = catalog_schema(plan)
    mosaic = plan.mosaics[0]
    for number, unit in enumerate(plan.units(mosaic)):
        rows = {name: variable.empty(3) for name, variable in schema.items()}
        centre = (unit.tile.y0 + unit.tile.y1) / 2, (unit.tile.x0 + unit.tile.x1) / 2
        rows |= {"source_id": np.arange(3, dtype="i8") + 3 * number, "y": np.full(3, centre[0]), "x": np.full(3, centre[1])}
        rows |= {"ra": np.full(3, 150.0) + 1e-4 * np.arange(3), "dec": np.full(3, 2.0), "mosaic": np.full(3, "m", dtype=object)}
        rows = {name: values.astype(schema[name].empty(0).dtype) for name, values in rows.items() if name in schema}
        store.write_tile(
            unit.tile, unit.unit_id, dataset_to_arrow(schema.dataset(rows)), TileRecord(3, {"read": 0.1}, [(0, 9, 0, 9)])
        )
    run_command(["run-flow", "publish", str(path), "--no-prefect"])


def _survey(seeds: Path, folder: Path) -> dict[str, object]:
    tree = survey(None, "plain.fits", seeds, {})
    tree["mosaics"][0]["images"] = [{"band": band, "path": str(seeds / "plain.fits")} for band in "griz"]
    tree["tiling"] = {"core_px": CORE_PX, "halo_px": 96}
    return tree | {"output": str(folder / "run"), "models": ["photoz"], "cluster": "serial", "formats": ["fits"]}


def valid_cases(seeds: Path, folder: Path) -> list[Given]:
    """All operations on the run as it is."""
    _copy(seeds, folder)
    return [
        Given(folder / "survey.yaml", operation)
        for operation in ("status", "status_of_folder", "plan", "publish", "verify", "tile")
    ]


def _copy(seeds: Path, folder: Path) -> None:
    """A copy of the run, whose records name its own folder."""
    shutil.copytree(seeds / "run", folder / "run")
    for name in ("work/plan.json", "provenance.json"):
        path = folder / "run" / name
        path.write_text(path.read_text().replace(str(seeds / "run"), str(folder / "run")))
    write_survey(folder, _survey(seeds, folder))


def make_case(rng: Random, seeds: Path, folder: Path) -> Given:
    """A run with one to three files of the work directory changed, exchanged or lost."""
    _copy(seeds, folder)
    work = folder / "run" / "work"
    operation = rng.choice(("status", "status_of_folder", "plan", "publish", "publish", "verify", "tile", "tile"))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        files = sorted(path for path in work.rglob("*") if path.is_file())
        kinds = {
            "tile": [path for path in files if "mosaics" in path.parts],
            "publish": [path for path in files if "tiles" in path.parts or path.suffix == ".json"],
        }
        candidates = kinds.get(operation) or [path for path in files if "c" not in path.parts]
        weights = [5 if path.name in ("plan.json", "zarr.json") else 2 for path in candidates]
        _change(rng, rng.choices(candidates, weights)[0], files, work)
    return Given(folder / "survey.yaml", operation)


def _change(rng: Random, path: Path, files: list[Path], work: Path) -> None:
    way = rng.random()
    if way < 0.08 and path.parent.name == "m":  # a tile that failed
        path.unlink()
        record = mutated_tree(rng, {"state": "failed", "reason": "x", "details": "y"}, PIECES)
        target = work / "failures" / "m" / f"{path.stem}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(record, default=str, skipkeys=True))
    elif way < 0.13:
        path.unlink()
    elif way < 0.15:
        path.unlink()
        path.mkdir()
    elif way < 0.2:
        path.write_bytes(rng.choice(files).read_bytes())
    elif way < 0.75 and path.suffix == ".json":
        try:
            tree = json.loads(path.read_text())
        except ValueError:  # changed before
            tree = {}
        path.write_text(json.dumps(mutated_tree(rng, tree, PIECES), default=str, skipkeys=True))
    elif way < 0.6 and path.suffix == ".parquet":
        path.write_bytes(_with_footer(rng, path.read_bytes()))
    else:
        path.write_bytes(mutated_bytes(rng, path.read_bytes(), TOKENS, [rng.choice(files).read_bytes()]))


def _with_footer(rng: Random, data: bytes) -> bytes:
    """A Parquet file with bytes of its footer mutated, the length of it kept right in most cases."""
    length = int.from_bytes(data[-8:-4], "little")
    start = max(0, len(data) - 8 - length)
    footer = mutated_bytes(rng, data[start:-8], TOKENS)
    size = len(footer) if rng.random() < 0.9 else rng.choice((0, 1, 2**31 - 1, 2**32 - 1))
    return data[:start] + footer + size.to_bytes(4, "little") + data[-4:]


def run_case(case: Given) -> str:
    """One command on the run, or the reading of its tiles as a worker does it."""
    output = case.config.parent / "run"
    if case.operation == "tile":
        chunks = ChunkStore.open(output / "work" / "mosaics" / "m.zarr")
        try:
            for tile in chunks.grid(96):
                chunks.read_window(tile)
        except UserError:
            raise
        except Exception:  # which makes it a failed tile of a run, in whatever library a broken chunk is found
            return "tile failed"
        return "tile"
    commands = {
        "status": ["status", str(case.config)],
        "status_of_folder": ["status", str(output)],
        "plan": ["plan", str(case.config)],
        "publish": ["run-flow", "publish", str(case.config), "--no-prefect"],
        "verify": ["verify", str(output)],
    }
    return f"{case.operation} {run_command(commands[case.operation])}"
