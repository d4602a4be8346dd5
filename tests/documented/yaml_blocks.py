"""What the YAML of a page says is right: configurations of surveys and flows, cluster files, settings of Dask, cards."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
import distributed  # noqa: F401 - brings the names of its settings
import yaml

from surveycnn.commands.flow import FLOWS
from surveycnn.config import SurveyConfig, load_config
from surveycnn.deployment.cluster_files import check_cluster_file
from surveycnn.models.card import Card
from surveycnn.sections import validate_section

SOME_SURVEY = {"name": "page", "mosaics": [{"id": "m1", "images": [{"band": "r", "path": "r.fits"}]}]}
"""What a fragment of a configuration is completed with."""


def check_yaml(text: str, folder: Path) -> None:
    """Check a block, and keep it in `folder` under the name that its first line has as a comment: ``# kids.yaml``."""
    tree = yaml.safe_load(text)
    assert isinstance(tree, dict), "a YAML block holds keys: use ```text for what does not"
    named = re.match(r"# *(\S+\.ya?ml)\b", text)
    path = folder / (Path(named[1]).name if named else "block.yaml")
    if "cluster_class" in tree:
        path.write_text(text)
        assert [problem for problem in check_cluster_file(path) if not problem.startswith("note")] == []
    elif set(tree) <= set(SurveyConfig.model_fields):
        path.write_text(text if "name" in tree and "mosaics" in tree else yaml.safe_dump(SOME_SURVEY | tree))
        load_config(path)
    elif "distributed" in tree:
        known_to_dask(tree, dask.config.config)
    elif {"task", "stamp_px"} <= set(tree):
        assert set(tree) <= set(Card.model_fields), f"no keys of a card: {set(tree) - set(Card.model_fields)}"
    else:
        assert check_flow(tree), f"keys of no configuration that we know: {', '.join(tree)}"
        path.write_text(text)


def known_to_dask(tree: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        assert key in known, f"Dask knows no setting {key}"
        if isinstance(value, dict) and isinstance(known[key], dict):
            known_to_dask(value, known[key])


def check_flow(tree: dict[str, Any]) -> bool:
    """Whether it configures a flow; an error where its values cannot be used."""
    for name, entry in FLOWS.items():
        if entry.config:
            module, _, section = entry.config.partition(":")
            model = getattr(importlib.import_module(module), section)
            if set(tree) <= set(model.model_fields):
                validate_section(model, tree, f"flow {name}")
                return True
    return False
