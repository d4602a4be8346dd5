"""What Prefect shows: names of runs, keys of artifacts."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath
from typing import Any


def run_name() -> str:
    """Name of the flow run that is about to start: its flow, and what it works on."""
    from prefect import runtime

    name, parameters = runtime.flow_run.flow_name, runtime.flow_run.parameters or {}
    return " ".join(dict.fromkeys((name, subject_of(parameters.get("config"))))).strip()


def subject_of(config: Any) -> str:
    """What a flow with this configuration works on, in a word: a survey's name, a model's task, a folder.

    >>> subject_of({"name": "kids", "output": "runs/k"}), subject_of("/data/kids.yaml"), subject_of(None)
    ('kids', 'kids', '')
    """
    if isinstance(config, str | PurePath):
        return PurePath(config).stem
    tree = config if isinstance(config, dict) else getattr(config, "__dict__", {})
    found = next((tree[key] for key in ("name", "task", "output") if tree.get(key)), "")
    return PurePath(str(found)).name


def artifact_key(survey: str, what: str) -> str:
    """Key of an artifact of a survey; Prefect takes lower case letters, digits and dashes alone.

    >>> artifact_key("kids", "infer-progress"), artifact_key("KiDS_4", "infer")
    ('surveycnn-kids-infer-progress', 'surveycnn-kids-4-32d8-infer')
    """
    slug = re.sub(r"[^a-z0-9]+", "-", survey.lower()).strip("-")
    if slug != survey:  # so that names that differ in this alone have keys of their own
        slug = f"{slug}-{hashlib.sha256(survey.encode()).hexdigest()[:4]}"
    return f"surveycnn-{slug}-{what}"
