"""The files of a model package, looked through without unpacking or running any of them: digests, entries, layers."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODEL_FILE = "model.keras"
GOLDEN_FILE = "golden.npz"

_KERAS_ENTRIES = {"metadata.json", "config.json", "model.weights.h5"}
_OWN = ("keras.layers.", "keras.initializers.", "keras.DTypePolicy", "keras.src.models.functional.Functional", "keras.src.ops.")
_MARKERS = {"__keras_tensor__", "__tuple__", "__slice__"}
"""Names in a configuration that stand for plain values."""
_RUN_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
"""Layers that run code or open files of their own."""
_MAX_UNPACKED_BYTES = 1 << 30
_MAX_RATIO = 100
"""A zip entry that unpacks to more than this many times its size is a bomb, not a network."""


def file_findings(
    folder: Path, sha256: Mapping[str, str], golden_entries: set[str], further: Mapping[str, set[str] | None] | None = None
) -> list[str]:
    """What is wrong with the files of a package whose card has these digests.

    Parameters
    ----------
    further
        Entries of the files beside the network and its golden file; None for another network.
    """
    findings = []
    wanted = {MODEL_FILE: None, GOLDEN_FILE: golden_entries} | dict(further or {})
    for name, entries in wanted.items():
        path = folder / name
        if not path.is_file():
            findings.append(f"{name} is missing")
        elif name not in sha256:
            findings.append(f"the card has no sha256 of {name}")
        elif (digest := file_sha256(path)) != sha256[name]:
            findings.append(f"{name} has sha256 {digest[:12]}..., the card says {sha256[name][:12]}...")
        else:
            findings += [f"{name}: {finding}" for finding in _zip_findings(path, entries or _KERAS_ENTRIES)]
    if not findings:
        networks = [name for name, entries in wanted.items() if entries is None]
        findings = [finding for name in networks for finding in _layer_findings(folder / name)]
    return findings


def _zip_findings(path: Path, allowed: set[str]) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except zipfile.BadZipFile as error:
        return [f"not a zip file: {error}"]
    findings = []
    names = [info.filename for info in infos]
    if sorted(names) != sorted(allowed):
        findings.append(f"entries are {sorted(names)}, expected {sorted(allowed)}")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > _MAX_UNPACKED_BYTES or any(info.file_size > _MAX_RATIO * max(info.compress_size, 1024) for info in infos):
        findings.append(f"unpacks to {unpacked} bytes from {path.stat().st_size}: too much for a network")
    return findings


def _layer_findings(path: Path) -> list[str]:
    """Objects in the network's configuration that are not Keras's own."""
    with zipfile.ZipFile(path) as archive:
        try:
            config = json.loads(archive.read("config.json"))
        except ValueError as error:
            return [f"{path.name}: config.json is not JSON: {error}"]
    foreign = sorted({name for name in _classes(config) if not name.startswith(_OWN) or name.rsplit(".")[-1] in _RUN_CODE})
    return [f"{path.name} has objects other than Keras's own layers: {', '.join(foreign)}"] if foreign else []


def _classes(config: Any) -> list[str]:
    """Dotted names of all classes that a Keras configuration would build."""
    if isinstance(config, list):
        return [name for item in config for name in _classes(item)]
    if not isinstance(config, dict):
        return []
    own = []
    if "class_name" in config and config["class_name"] not in _MARKERS:
        own = [f"{config.get('module')}.{config['class_name']}"]
        if config.get("registered_name") not in (None, config["class_name"]):
            own.append(str(config["registered_name"]))
    return own + [name for item in config.values() for name in _classes(item)]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
