"""Starting a run, or going on with one: a work directory belongs to one plan, and another one is refused or updates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surveycnn.config import MosaicConfig, SurveyConfig
from surveycnn.errors import ResumeError
from surveycnn.run.changes import changed_files, changes_since, file_stamps, touched_files
from surveycnn.run.inputs import MosaicInputs, inspect_mosaic
from surveycnn.run.plan import Plan
from surveycnn.run.store import FOLDERS, WorkStore, write_json
from surveycnn.run.update import clear_outdated, find_update
from surveycnn.sky.chunks import ChunkStore


def bind_plan(store: WorkStore, plan: Plan, *, update: bool = False, say: Callable[[str], None] = lambda text: None) -> None:
    """Make `store` the work directory of `plan`, or go on where it already is.

    Parameters
    ----------
    update
        Where it belongs to another plan, keep what does not depend on the changes; or else it is refused.
    say
        Told what has changed and what there is to do, before anything is done.

    Raises
    ------
    ResumeError
        Where it belongs to a run that would give another catalog; says what changed.
    """
    record = store.read_plan()
    if record is None:
        foreign = [name for name in FOLDERS if (store.root / name).exists()]
        if foreign:
            raise ResumeError(
                f"work directory {str(store.root)!r} holds {', '.join(foreign)}, but no plan of a run: they may be somebody's "
                "data; give another work_dir"
            )
        write_json(store.plan_path, plan_record(plan))
        return
    if update:
        found = find_update(store, plan)
        if found is not None:
            for line in found.lines():
                say(line)
            clear_outdated(store, plan, found)
            write_json(store.plan_path, plan_record(plan))
    elif record["digest"] != plan.digest:
        raise ResumeError(
            f"work directory {str(store.root)!r} holds a run with other settings or inputs ({changes_since(record, plan)}): "
            "undo the change, compute what depends on it with --update, start over with --fresh, or give another output"
        )


def plan_record(plan: Plan) -> dict[str, Any]:
    """What ``plan.json`` holds."""
    config = plan.config.model_dump(mode="json")
    return {"digest": plan.digest, "fingerprint": plan.fingerprint, "config": config, "file_stamps": file_stamps(plan)}


def planned_config(store: WorkStore) -> SurveyConfig:
    """Configuration of the run that `store` belongs to.

    Raises
    ------
    ResumeError
        Where no run was started there.
    """
    record = store.read_plan()
    if record is None:
        raise ResumeError(
            f"{str(store.root)!r} is not the work directory of a run: give a configuration file or a work directory"
        )
    try:
        return SurveyConfig.model_validate(record["config"])
    except (KeyError, TypeError, ValueError):
        raise ResumeError(f"{str(store.plan_path)!r} is damaged: start over with --fresh, or give another output") from None


def check_unchanged(store: WorkStore, planned: MosaicConfig, inputs: MosaicInputs, chunks: ChunkStore) -> None:
    """Raise ResumeError where headers are not as planned, or a file that is in the chunk store already has other bytes by now.

    Files whose size and time are as planned are believed; only others are read again.
    """
    stamps = (store.read_plan() or {}).get("file_stamps", {})
    if touched_files(stamps, inputs) and inspect_mosaic(planned).fingerprint() != inputs.fingerprint():
        raise ResumeError(
            f"the headers of mosaic {inputs.id!r} have changed since the run was planned: give the same command again, which "
            "says what has changed"
        )
    for _, file in changed_files(stamps, inputs, chunks):
        raise ResumeError(
            f"file {file!r} has changed since it was ingested: compute what depends on it with --update, start over with "
            "--fresh, or give another output"
        )
