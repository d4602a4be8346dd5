"""Starting a run, or going on with one: a work directory belongs to one plan, and another plan is refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.errors import ResumeError
from surveycnn.paths import split_path
from surveycnn.run.inputs import MosaicInputs
from surveycnn.run.plan import Plan
from surveycnn.run.store import FOLDERS, WorkStore, read_json, write_json
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.files import file_sha256, is_remote

_SHOWN = 5


def bind_plan(store: WorkStore, plan: Plan) -> None:
    """Make `store` the work directory of `plan`, or go on where it already is.

    Raises
    ------
    ResumeError
        Where it belongs to a run that would give another catalog; says what changed.
    """
    record = read_json(store.plan_path)
    if store.plan_path.exists() and (record is None or not {"digest", "fingerprint"} <= record.keys()):
        raise ResumeError(f"{str(store.plan_path)!r} is damaged: start over with --fresh, or give another output")
    if record is None:
        foreign = [name for name in FOLDERS if (store.root / name).exists()]
        if foreign:
            raise ResumeError(
                f"work directory {str(store.root)!r} holds {', '.join(foreign)}, but no plan of a run: they may be somebody's "
                "data; give another work_dir"
            )
        write_json(store.plan_path, plan_record(plan))
        return
    if record["digest"] == plan.digest:
        return
    raise ResumeError(
        f"work directory {str(store.root)!r} holds a run with other settings or inputs ({changes_since(record, plan)}): "
        "undo the change, start over with --fresh, or give another output"
    )


def changes_since(record: dict[str, Any], plan: Plan) -> str:
    """What of a plan differs from the one that ``plan.json`` holds, the first few changes."""
    changes = list(_differences(record["fingerprint"], plan.fingerprint))
    more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    return "; ".join(changes[:_SHOWN]) + more


def plan_record(plan: Plan) -> dict[str, Any]:
    """What ``plan.json`` holds."""
    stamps = {path: _file_stamp(path) for mosaic in plan.mosaics for path in local_inputs(mosaic.inputs)}
    config = plan.config.model_dump(mode="json")
    return {"digest": plan.digest, "fingerprint": plan.fingerprint, "config": config, "file_stamps": stamps}


def planned_config(store: WorkStore) -> SurveyConfig:
    """Configuration of the run that `store` belongs to.

    Raises
    ------
    ResumeError
        Where no run was started there.
    """
    record = read_json(store.plan_path)
    if record is None:
        raise ResumeError(
            f"{str(store.root)!r} is not the work directory of a run: give a configuration file or a work directory"
        )
    return SurveyConfig.model_validate(record["config"])


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """One text for each leaf in which two trees of plain values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(*pair, f"{path}[{index}]")
    elif old != new:
        yield f"{path}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def local_inputs(inputs: MosaicInputs) -> Iterator[str]:
    """Local files that the images of a mosaic are read from."""
    for image in inputs.images:
        for path in (image.path, image.weight, image.variance, image.rms, image.mask):
            if path is not None and not is_remote(path):
                yield split_path(path)[0].removeprefix("file://")


def _file_stamp(path: str) -> list[int]:
    status = Path(path).stat()
    return [status.st_size, status.st_mtime_ns]


def check_unchanged(store: WorkStore, inputs: MosaicInputs, chunks: ChunkStore) -> None:
    """Raise ResumeError where a file that is in the chunk store already has other bytes by now.

    Files whose size and time are as planned are believed; only others are read again.
    """
    stamps = (read_json(store.plan_path) or {}).get("file_stamps", {})
    changed = {path for path in local_inputs(inputs) if _file_stamp(path) != stamps.get(path)}
    finished = chunks.finished_bands() if changed else ()
    for image in inputs.images:
        digests = (chunks.band_record(image.band) or {}).get("digests", {}) if image.band in finished else {}
        for name, digest in digests.items():
            file = split_path(image.path if name == "image" else getattr(image, name))[0].removeprefix("file://")
            if file in changed and file_sha256(file) != digest:
                raise ResumeError(
                    f"file {file!r} has changed since it was ingested: start over with --fresh, or give another output"
                )
