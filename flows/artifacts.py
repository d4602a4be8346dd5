"""Artifacts of a run: one progress and one table per stage, and a summary; a server that cannot take one does not end the run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from surveycnn.flows.names import artifact_key
from surveycnn.run.progress import Progress

ARTIFACT_SECONDS = 5.0

_log = logging.getLogger("prefect.surveycnn")


def post_table(survey: str, stage: str, rows: list[dict[str, Any]]) -> None:
    """Post the table of a stage."""
    _post(create_table_artifact, key=artifact_key(survey, stage), table=rows, description=f"Stage {stage} of {survey}")


def post_summary(survey: str, markdown: str) -> None:
    """Post the summary of a run."""
    _post(create_markdown_artifact, key=artifact_key(survey, "summary"), markdown=markdown, description=f"Summary of {survey}")


def _post(function: Callable[..., Any], **arguments: Any) -> Any:
    """What `function` gives; None where the server cannot be reached, even after the tries that Prefect makes."""
    try:
        return function(**arguments)
    except Exception as error:
        _log.warning("an artifact could not be posted: %s", error)
        return None


class ArtifactProgress:
    """Passes everything on to another progress, logs messages, and posts a progress per stage, every few seconds at most."""

    def __init__(self, shown: Progress, survey: str, log: Any):
        self._shown, self._survey, self._run_log = shown, survey, log
        self._lock = threading.Lock()
        self._stages: dict[str, dict[str, Any]] = {}

    def message(self, text: str) -> None:
        self._shown.message(text)
        self._run_log.info("%s", text)

    def add(self, stage: str, n_units: int) -> None:
        self._shown.add(stage, n_units)
        with self._lock:
            if stage not in self._stages:
                key = artifact_key(self._survey, f"{stage}-progress")
                description = f"Stage {stage} of {self._survey}"
                artifact = _post(create_progress_artifact, progress=0.0, key=key, description=description)
                self._stages[stage] = {"artifact": artifact, "done": 0, "total": 0, "posted": time.monotonic()}
            self._stages[stage]["total"] += n_units

    def advance(self, stage: str, n_units: int = 1) -> None:
        self._shown.advance(stage, n_units)
        with self._lock:
            state = self._stages[stage]
            state["done"] += n_units
            now = time.monotonic()
            if state["done"] == state["total"] or now - state["posted"] > ARTIFACT_SECONDS:
                state["posted"] = now
                if state["artifact"] is not None:
                    progress = 100.0 * state["done"] / state["total"]
                    _post(update_progress_artifact, artifact_id=state["artifact"], progress=progress)
