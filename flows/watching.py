"""Looking for new mosaics: what a configuration stands for now beside what its work directory holds; only what is new is run.

No Prefect in here; :mod:`surveycnn.flows.watch` is the flow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveycnn.catalogs.source import PROVENANCE
from surveycnn.config import MosaicConfig, SurveyConfig, load_config
from surveycnn.errors import ResumeError
from surveycnn.mosaic_patterns import IMAGE_PATHS
from surveycnn.paths import is_url, split_path
from surveycnn.run.plan import check_run
from surveycnn.run.progress import Progress
from surveycnn.run.publish import SurveyResult
from surveycnn.run.status import run_status
from surveycnn.run.store import WorkStore, read_json
from surveycnn.run.survey import run_survey
from surveycnn.run.update import find_update

SETTLE_MINUTES = 10.0
"""Files that were modified later than this are taken to be still on their way."""
CLOCK_SECONDS = 60.0
"""By which clocks of file servers may be ahead; a file that is dated later was not modified just now."""


@dataclass(frozen=True)
class Look:
    """What a look at a configuration has found."""

    config: SurveyConfig | None
    """What is to be run, with --update; None where there is nothing to do."""
    reason: str
    """Why, in a line."""
    is_busy: bool = False
    """Whether another run holds the work directory."""

    def summary(self) -> str:
        """The line for people."""
        return self.reason


def run_watch(
    config: SurveyConfig | str | Path,
    *,
    settle_minutes: float = SETTLE_MINUTES,
    fresh: bool = False,
    progress: Progress | None = None,
    survey: Callable[..., Any] = run_survey,
) -> SurveyResult | Look | Any:
    """Run what is new since the last run of a configuration, and nothing else; a :class:`Look` where nothing is new.

    Parameters
    ----------
    config
        A configuration, or the path of its file.
    settle_minutes
        Mosaics of which a file was modified within this time are left for the next look.
    survey
        What runs the survey: the plain function, or the Prefect flow.
    """
    found = look(load_config(config) if isinstance(config, str | Path) else config, settle_minutes)
    if found.config is None:
        return found
    if progress is not None:
        progress.message(found.reason)
    return survey(found.config, fresh=fresh, update=not fresh, progress=progress)


def look(config: SurveyConfig, settle_minutes: float) -> Look:
    """What is new: nothing is written, no cluster started, no pixel read."""
    store = WorkStore(config.work_path)
    record = store.read_plan() if store.root.exists() else None
    if store.root.exists():
        try:
            with store.lock():
                pass
        except ResumeError as error:
            return Look(None, f"left to the next look: {error}", is_busy=True)
    arriving = {mosaic.id for mosaic in config.mosaics if _is_arriving(mosaic, settle_minutes)}
    known = set((record or {}).get("fingerprint", {}).get("mosaics", {}))
    if arriving & known:
        return Look(None, f"left to the next look: {_some(arriving & known)}, which the catalog has, is being written again")
    settled = tuple(mosaic for mosaic in config.mosaics if mosaic.id not in arriving)
    waiting = f"; left to the next look, as files are on their way: {_some(arriving)}" if arriving else ""
    if not settled:
        return Look(None, f"nothing to run{waiting}")
    wanted = config.model_copy(update={"mosaics": settled})
    return _compared(wanted, store, record, waiting)


def _compared(config: SurveyConfig, store: WorkStore, record: dict[str, Any] | None, waiting: str) -> Look:
    plan = check_run(config)
    if record is None:
        return Look(config, f"first run, of {_some(mosaic.id for mosaic in config.mosaics)}{waiting}")
    update = find_update(store, plan, is_read=False)
    if update is not None:
        return Look(config, f"{'; '.join(update.lines())}{waiting}")
    n_todo = run_status(plan, store).tiles["todo"]
    if n_todo:
        return Look(config, f"{n_todo} tiles of an earlier run are left{waiting}")
    published = read_json(config.output_path / PROVENANCE) or {}
    if published.get("run_digest") != plan.digest:
        return Look(config, f"all tiles have run, but their catalog is not published{waiting}")
    known = _some(mosaic.id for mosaic in config.mosaics)
    return Look(None, f"nothing new: {known} in the catalog {str(config.output_path)!r}{waiting}")


def _is_arriving(mosaic: MosaicConfig, settle_minutes: float) -> bool:
    """Whether a local file of a mosaic was modified a short while ago."""
    now = time.time()
    since, until = now - 60 * settle_minutes, now + CLOCK_SECONDS
    return settle_minutes > 0 and any(since < _modified(path) <= until for path in _local_files(mosaic))


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # the plan says what is the matter with it
        return 0.0


def _local_files(mosaic: MosaicConfig) -> Iterator[Path]:
    paths = [mosaic.wcs, *(getattr(image, key) for image in mosaic.images for key in IMAGE_PATHS)]
    yield from (Path(split_path(path)[0]) for path in paths if path is not None and not is_url(path))


def _some(ids: Any, shown: int = 5) -> str:
    """A few ids and the number of the others.

    >>> _some(["m1"]), _some("abcdefg")
    ('mosaic m1', 'mosaics a, b, c, d, e and 2 more')
    """
    names = sorted(ids)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"mosaic{'s' * (len(names) > 1)} {', '.join(names[:shown])}{more}"
