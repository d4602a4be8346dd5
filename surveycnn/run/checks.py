"""Checks of a plan against what it will run on: halo, engine, memory and output folder."""

from __future__ import annotations

import importlib.util
import math
import os
from typing import TYPE_CHECKING

from surveycnn.catalogs.publishing.publish import MANAGED, PROVENANCE
from surveycnn.catalogs.publishing.swap import OLD, READY
from surveycnn.config import SurveyConfig
from surveycnn.errors import ConfigError
from surveycnn.models.card import Card
from surveycnn.run.inputs import MosaicInputs
from surveycnn.sources.photometry import measuring_reach_px

if TYPE_CHECKING:
    from surveycnn.run.plan import Plan
    from surveycnn.run.workers import Presence


USABLE_MEMORY = 0.8
"""Share of a worker's memory limit, from which on Dask gives it no more work."""


def check_halo(config: SurveyConfig, inputs: MosaicInputs, cards: list[Card]) -> None:
    """Raise ConfigError where stamps, apertures or what is looked at beside them reach farther than the halo."""
    halo = config.tiling.halo_px
    reach = measuring_reach_px(inputs.pixel_scale)
    if reach > halo:
        raise ConfigError(
            f"key 'tiling.halo_px' is {halo}, but photometry looks {reach} px far on mosaic {inputs.id!r} "
            f"({inputs.pixel_scale:.3f} arcsec/px): raise tiling.halo_px"
        )
    for card in cards:
        side = card.stamp_px * (math.sqrt(2) if card.orientation == "sky" else 1)
        needed = math.ceil(side * card.pixel_scale / inputs.pixel_scale / 2) + 3
        if needed > halo:
            raise ConfigError(
                f"key 'tiling.halo_px' is {halo}, but the {card.stamp_px} px stamps of model {card.name!r} need at least "
                f"{needed} px on mosaic {inputs.id!r} ({inputs.pixel_scale:.3f} arcsec/px): raise tiling.halo_px"
            )
    radius = math.ceil(config.photometry.aperture_arcsec / 2 / inputs.pixel_scale) + 1
    if radius > halo:
        raise ConfigError(
            f"key 'photometry.aperture_arcsec' is {config.photometry.aperture_arcsec:g}, {radius} px from the middle to the rim "
            f"on mosaic {inputs.id!r} ({inputs.pixel_scale:.3f} arcsec/px), but tiling.halo_px is {halo}: raise it, or measure "
            "less"
        )


def check_engine(kind: str) -> None:
    """Raise ConfigError where the library of an engine is not installed."""
    if kind != "auto" and importlib.util.find_spec(kind) is None:
        raise ConfigError(f"key 'engine.kind': {kind!r} is not installed: install it, or use auto, tensorflow or openvino")


def check_memory(plan: Plan, limit_bytes: int | None, n_threads: int) -> None:
    """Raise ConfigError where a worker needs more memory than it can use."""
    needed = plan.memory.per_worker(n_threads)
    if limit_bytes and needed > USABLE_MEMORY * limit_bytes:
        raise ConfigError(
            f"a worker with {n_threads} threads needs about {needed / 2**30:.1f} GiB of memory, it can use "
            f"{USABLE_MEMORY:.0%} of {limit_bytes / 2**30:.1f} GiB: lower tiling.core_px (now {plan.config.tiling.core_px}) "
            "or give workers more memory"
        )


def small_worker(plan: Plan, worker: Presence) -> str:
    """One line where a worker that joins a run has less memory than its tiles need, else nothing: other workers do not suffer."""
    needed = plan.memory.per_worker(worker.n_threads)
    if not worker.memory_limit or needed <= USABLE_MEMORY * worker.memory_limit:
        return ""
    return (
        f"worker {worker.address} joined with {worker.memory_limit / 2**30:.1f} GiB of memory, its {worker.n_threads} threads "
        f"need about {needed / USABLE_MEMORY / 2**30:.1f} GiB: tiles may end it"
    )


def check_output(config: SurveyConfig) -> None:
    """Raise ConfigError where the output or work folder cannot be a folder of ours."""
    for key, path in (("output", config.output_path), ("work_dir", config.work_path)):
        # os.path: what may not be looked into counts as absent
        existing = next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))
        if not existing.is_dir():
            raise ConfigError(f"key {key!r}: {str(existing)!r} exists and is not a folder: give another path")
        if not os.access(existing, os.W_OK):
            raise ConfigError(f"key {key!r}: no permission to write into {str(existing)!r}: give another path")
    output = config.output_path
    if not any((output / name).exists() for name in (PROVENANCE, READY, OLD)):
        foreign = [name for name in MANAGED if (output / name).exists()]
        if foreign:
            raise ConfigError(
                f"key 'output': {str(output)!r} holds {', '.join(foreign)}, which no run has published (no {PROVENANCE}) "
                "and this run would replace: give another path"
            )
