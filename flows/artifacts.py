"""Artifacts of a run: one progress and one table per stage, and a summary; a server that cannot take one does not end the run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Thread
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
        self._stages: dict[str, _Stage] = {}

        self.found, self.watch = shown.found, shown.watch

    def message(self, text: str) -> None:
        self._shown.message(text)
        self._run_log.info("%s", text)

    def failed(self, text: str) -> None:
        self._shown.failed(text)
        self._run_log.warning("%s", text)

    def expect(self, stage: str, n_units: int) -> None:
        self._shown.expect(stage, n_units)
        with self._lock:
            self._stage(stage).expected = n_units

    def add(self, stage: str, n_units: int) -> None:
        self._shown.add(stage, n_units)
        with self._lock:
            self._stage(stage).added += n_units

    def _stage(self, stage: str) -> _Stage:
        if stage not in self._stages:
            key = artifact_key(self._survey, f"{stage}-progress")
            description = f"Stage {stage} of {self._survey}"
            self._stages[stage] = _Stage(_post(create_progress_artifact, progress=0.0, key=key, description=description))
        return self._stages[stage]

    def advance(self, stage: str, n_units: int = 1) -> None:
        self._shown.advance(stage, n_units)
        with self._lock:
            state = self._stages[stage]
            state.done += n_units
            is_complete = state.done == state.total
            if not is_complete and (state.is_posting or time.monotonic() - state.posted < ARTIFACT_SECONDS):
                return
            state.is_posting = True
        if is_complete:
            state.post()
        else:  # a server that is slow must not hold up the tiles
            Thread(target=copy_context().run, args=(state.post,), name="surveycnn-progress", daemon=True).start()


@dataclass
class _Stage:
    """A stage with its artifact; None where there is none."""

    artifact: Any
    done: int = 0
    added: int = 0
    expected: int | None = None
    posted: float = field(default_factory=time.monotonic)
    is_posting: bool = False
    _order: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        return self.added if self.expected is None else self.expected

    def post(self) -> None:
        """Post what is done by now."""
        with self._order:
            if self.artifact is not None:
                _post(update_progress_artifact, artifact_id=self.artifact, progress=100.0 * self.done / self.total)
            self.posted, self.is_posting = time.monotonic(), False
