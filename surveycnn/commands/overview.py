"""``surveycnn plan`` and ``surveycnn status``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from surveycnn.config import SurveyConfig, load_config
from surveycnn.errors import ConfigError, printable
from surveycnn.run.cluster import describe_cluster
from surveycnn.run.plan import Plan, check_run, make_plan
from surveycnn.run.resume import planned_config
from surveycnn.run.status import STATES, RunStatus, run_status, where_to_look
from surveycnn.run.store import WorkStore
from surveycnn.run.update import Update, find_update


def plan(arguments: argparse.Namespace) -> int:
    """Print what would run."""
    config = load_config(arguments.config, arguments.overrides)
    planned = check_run(config)
    store = WorkStore(config.work_path)
    status = run_status(planned, store)
    record = plan_overview(planned, status) | _update_record(find_update(store, planned, is_read=False))
    if arguments.time:
        # the engines take seconds to import
        from surveycnn.run.forecast import forecast

        record["forecast"] = forecast(planned, status, record["cluster"])
    print(json.dumps(record, indent=1) if arguments.json else printable(plan_text(record)))
    return 0


def plan_overview(plan: Plan, status: RunStatus) -> dict[str, Any]:
    """Plain values that describe a plan and what of it is left to do."""
    cluster = describe_cluster(plan.config.cluster)
    needed = plan.memory.per_worker(cluster["threads_per_worker"])
    return {
        "name": plan.config.name,
        "output": str(plan.config.output_path),
        "work_dir": str(plan.config.work_path),
        "catalog": plan.config.detection.catalog,
        "mosaics": [
            {
                "id": mosaic.id,
                "shape": [mosaic.inputs.ny, mosaic.inputs.nx],
                "pixel_scale_arcsec": round(mosaic.inputs.pixel_scale, 4),
                "bands": list(mosaic.inputs.bands),
                "zeropoints": {image.band: image.zeropoint for image in mosaic.inputs.images},
                "detection_bands": list(mosaic.detection_bands),
                "tiles": len(mosaic.grid),
                "models": [model.name for model in mosaic.models],
                "skipped_models": mosaic.skipped,
            }
            | ({"sources": plan.n_given[number]} if plan.sources is not None else {})
            for number, mosaic in enumerate(plan.mosaics)
        ],
        "tiles": plan.n_tiles,
        "tiles_todo": status.tiles["todo"],
        "sources": _n_sources(plan, status),
        "bytes_read": plan.bytes_read,
        "bytes_stored": plan.bytes_stored,
        "cluster": cluster,
        "worker_memory_bytes": needed,
        "worker_device_memory_bytes": plan.memory.per_device,
        "notes": list(plan.notes),
    }


def _n_sources(plan: Plan, status: RunStatus) -> int | None:
    """Number of rows that the catalog will have, None where it is not known before the tiles have run."""
    if plan.sources is not None:
        return sum(plan.n_given)
    return status.n_sources if status.is_finished else None


def plan_text(record: dict[str, Any]) -> str:
    """The overview for people."""
    cluster, limit = record["cluster"], record["cluster"]["memory_limit_bytes"]
    lines = [f"survey {record['name']} -> {record['output']} (work in {record['work_dir']})"]
    for mosaic in record["mosaics"]:
        ny, nx = mosaic["shape"]
        sources = f"detection in {' '.join(mosaic['detection_bands'])}"
        if "sources" in mosaic:
            sources = f"{mosaic['sources']} sources of {record['catalog']}"
        zeropoints = " ".join(f"{value:.6g}" for value in mosaic["zeropoints"].values())
        lines.append(
            f"mosaic {mosaic['id']}: {ny} x {nx} px of {mosaic['pixel_scale_arcsec']} arcsec, {mosaic['tiles']} tiles, "
            f"bands {' '.join(mosaic['bands'])}, zero points {zeropoints}, {sources}, models {' '.join(mosaic['models'])}"
        )
    n_sources = "not known yet" if record["sources"] is None else record["sources"]
    of_limit = f" of {_size(limit)}" if limit else ""
    lines += [
        f"tiles: {record['tiles']}, to do {record['tiles_todo']}; sources: {n_sources}",
        f"input files: {_size(record['bytes_read'])}; chunk store before compression: {_size(record['bytes_stored'])}",
        f"cluster {cluster['name']}: {cluster['workers']} workers with {cluster['threads_per_worker']} threads; "
        f"memory per worker about {_size(record['worker_memory_bytes'])}{of_limit}; on a GPU about "
        f"{_size(record['worker_device_memory_bytes'])} for the forward passes",
    ]
    if "forecast" in record:
        lines += _forecast_lines(record["forecast"])
    lines += record["update"]["text"] if record.get("update") else []
    return "\n".join([*lines, *record["notes"]])


def _forecast_lines(found: dict[str, Any]) -> list[str]:
    def stages(seconds: dict[str, float]) -> str:
        return ", ".join(f"{stage.replace('_', '-')} {value:.0f} s" for stage, value in seconds.items())

    lines = [
        f"forecast: {found['sources']} sources; {stages(found['seconds'])}; tile files {_size(found['tile_bytes'])}, catalog "
        f"{_size(found['catalog_bytes'])}",
        f"an estimate from {found['origin']}; it took {found['calibration_seconds']:.0f} s",
    ]
    if found["seconds_left"] != found["seconds"]:
        lines.insert(1, f"left of it: {stages(found['seconds_left'])}")
    return lines


def _size(n_bytes: int) -> str:
    """Bytes for people."""
    value = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"


def status(arguments: argparse.Namespace) -> int:
    """Print the tiles of a run by state."""
    config = _config_of(Path(arguments.where))
    planned, store = make_plan(config), WorkStore(config.work_path)
    state, update = run_status(planned, store), find_update(store, planned, is_read=False)
    if arguments.json:
        print(json.dumps(state.as_dict() | _update_record(update), indent=1))
        return 0
    print(", ".join(f"{name} {state.tiles[name]}" for name in STATES) + f"; {state.n_sources} sources")
    for problem in state.problems:
        said = f"{problem['state']}: tile {problem['tile']} of mosaic {problem['mosaic']}: {problem['reason']}"
        print(printable(said + where_to_look(problem)))
    for line in update.lines() if update else []:
        print(printable(line))
    return 0


def _update_record(update: Update | None) -> dict[str, Any]:
    """What a plan changes in its work directory, as plain values and as text; None where nothing."""
    return {"update": update and update.as_dict() | {"text": update.lines()}}


def _config_of(where: Path) -> SurveyConfig:
    """Configuration behind a YAML file, a work directory, or the output folder that holds one."""
    if where.is_file():
        return load_config(where)
    for folder in (where, where / "work"):
        store = WorkStore(folder)
        if store.plan_path.is_file():
            return planned_config(store)
    raise ConfigError(f"{str(where)!r} is no configuration file and no work directory of a run: check the path")
