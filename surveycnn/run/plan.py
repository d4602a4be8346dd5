"""The plan of a run: what will be read, cut, computed and stored, checked before anything starts.

Planning reads headers, model cards, and the user's table of sources where there is one. It is deterministic: the same
configuration gives the same work units with the same ids, which is what makes a run resumable and its results checkable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from surveycnn import __version__
from surveycnn.bands import KNOWN_BANDS
from surveycnn.config import MosaicConfig, SurveyConfig
from surveycnn.errors import ConfigError
from surveycnn.models.card import Card
from surveycnn.models.package import find_card, shipped_models
from surveycnn.run.checks import check_engine, check_halo, check_output
from surveycnn.run.cluster_files import check_cluster
from surveycnn.run.inputs import MosaicInputs, inspect_mosaic
from surveycnn.run.memory import MemoryEstimate, estimate_memory
from surveycnn.run.store import WorkStore
from surveycnn.run.units import ModelUse as ModelUse
from surveycnn.run.units import WorkUnit as WorkUnit
from surveycnn.run.units import rows_digest, stored_pixels, work_unit
from surveycnn.sky.tiling import TileGrid
from surveycnn.sources.catalog import SourceTable, count_sources, read_sources
from surveycnn.sources.identity import check_mosaic_keys, check_mosaic_size

DEFAULT_DETECTION = ("g", "r", "i")
COARSE = 2
"""Widths of a model's pixel from which on a mosaic's hold too little detail for it."""


@dataclass(frozen=True)
class MosaicPlan:
    """What happens to one mosaic."""

    inputs: MosaicInputs
    grid: TileGrid
    detection_bands: tuple[str, ...]
    models: tuple[ModelUse, ...]
    skipped: dict[str, str]
    """Reason for each model that does not run."""

    @property
    def id(self) -> str:
        return self.inputs.id

    @property
    def chunk_layout(self) -> dict[str, Any]:
        """Arguments of :meth:`surveycnn.sky.chunks.ChunkStore.create` that the mosaic's pixels need."""
        inputs = self.inputs
        return {
            "mosaic": inputs.id,
            "bands": inputs.bands,
            "ny": inputs.ny,
            "nx": inputs.nx,
            "core_px": self.grid.core_px,
            "wcs_header": inputs.wcs_header,
            "pixel_scale": inputs.pixel_scale,
            "has_weight": inputs.has_weight,
        }


@dataclass(frozen=True)
class Plan:
    """All work of a run; units are made on demand, so that a million of them need no memory."""

    config: SurveyConfig
    mosaics: tuple[MosaicPlan, ...]
    cards: dict[str, Card]
    """Card of each model, by reference."""
    notes: tuple[str, ...] = ()
    memory: MemoryEstimate = field(default_factory=lambda: MemoryEstimate({}))
    sources: SourceTable | None = None
    """The user's table of sources to measure; None where they are detected."""
    n_given: tuple[int, ...] = ()
    """Number of the table's sources on each mosaic."""

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that the result depends on, as plain values; two runs with equal fingerprints give equal catalogs."""
        config = self.config
        return {
            "version": __version__,
            "tiling": config.tiling.model_dump(mode="json"),
            "detection": config.detection.model_dump(mode="json"),
            "photometry": config.photometry.model_dump(mode="json"),
            "precision": config.engine.precision,
            "bands": dict(sorted(config.bands.items())),
            "models": {reference: card.digest for reference, card in self.cards.items()},
            "mosaics": {mosaic.id: mosaic.inputs.fingerprint() for mosaic in self.mosaics},
        } | ({"catalog_sha256": self.sources.sha256} if self.sources is not None else {})

    @cached_property
    def digest(self) -> str:
        """sha256 of the fingerprint, hexadecimal."""
        return hashlib.sha256(json.dumps(self.fingerprint, sort_keys=True).encode()).hexdigest()

    def units(self, mosaic: MosaicPlan) -> Iterator[WorkUnit]:
        """The work units of one mosaic, row by row, as they are with the pixels that its chunk store holds now."""
        pixels = stored_pixels(WorkStore(self.config.work_path), mosaic.inputs)
        rows = rows_digest(self.config, mosaic.inputs, mosaic.detection_bands, self.sources, pixels)
        parts = {model.task: model.part_id(self.config.engine.precision) for model in mosaic.models}
        for tile in mosaic.grid:
            yield work_unit(tile, rows, parts)

    @property
    def n_tiles(self) -> int:
        return sum(len(mosaic.grid) for mosaic in self.mosaics)

    @property
    def bytes_read(self) -> int:
        """Bytes of the input files."""
        return sum(mosaic.inputs.n_bytes for mosaic in self.mosaics)

    @property
    def bytes_stored(self) -> int:
        """Bytes of the chunk store before compression: float32 pixels, weights where given, one byte of mask."""
        return sum(mosaic.inputs.bytes_stored for mosaic in self.mosaics)


def make_plan(config: SurveyConfig) -> Plan:
    """Plan of the run that `config` describes.

    Raises
    ------
    ConfigError, InputError, ModelError
        Whatever is wrong with the inputs and can be seen without reading pixels.
    """
    check_mosaic_keys([mosaic.id for mosaic in config.mosaics])
    given = config.detection
    sources = read_sources(given.catalog, given.ra, given.dec, given.id) if given.catalog else None
    cards = {reference: find_card(reference) for reference in config.models}
    _check_models(config, cards)
    mosaics = tuple(_plan_mosaic(config, mosaic, cards) for mosaic in config.mosaics)
    if not cards:
        raise ConfigError(
            f"'models' is empty: name at least one of {', '.join(shipped_models())}, or the path of a model package"
        )
    if not any(mosaic.models for mosaic in mosaics):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in mosaics[0].skipped.items())
        raise ConfigError(f"no model can run on any mosaic ({reasons}): add the images or map the names under `bands`")
    memory = estimate_memory(config.tiling, max(len(m.bands) for m in config.mosaics), list(cards.values()))
    notes = [*_notes(config, mosaics, cards)]
    if sources is None:
        return Plan(config, mosaics, cards, tuple(notes), memory)
    *n_given, n_outside = count_sources(sources, [placement(mosaic) for mosaic in mosaics])
    if n_outside:
        notes.append(f"{n_outside} of {len(sources)} sources of {sources.path} lie on no mosaic and are left out")
    return Plan(config, mosaics, cards, tuple(notes), memory, sources, tuple(n_given))


def placement(mosaic: MosaicPlan) -> tuple[str, int, int]:
    """WCS header, height and width of a mosaic: what places the sources of a table on it."""
    return mosaic.inputs.wcs_header, mosaic.inputs.ny, mosaic.inputs.nx


def _check_models(config: SurveyConfig, cards: dict[str, Card]) -> None:
    tasks = [card.task for card in cards.values()]
    twice = sorted({task for task in tasks if tasks.count(task) > 1})
    if twice:
        same = [reference for reference, card in cards.items() if card.task == twice[0]]
        raise ConfigError(f"models {', '.join(same)} all do {twice[0]!r} and would write the same columns: keep one of them")
    wanted = {band for card in cards.values() for band in card.bands}
    for name, ours in config.bands.items():
        if name not in wanted and not any(name in card.bands for card in map(find_card, shipped_models())):
            raise ConfigError(f"key 'bands.{name}': no model knows a band {name!r}: the models use {', '.join(sorted(wanted))}")
        if not any(ours in mosaic.bands for mosaic in config.mosaics):
            have = sorted({band for mosaic in config.mosaics for band in mosaic.bands})
            raise ConfigError(f"key 'bands.{name}': no mosaic has a band {ours!r}: the images are in {', '.join(have)}")


def _plan_mosaic(config: SurveyConfig, mosaic: MosaicConfig, cards: dict[str, Card]) -> MosaicPlan:
    detection = _detection_bands(config, mosaic)
    _check_bands(config, mosaic, cards, detection)
    models, skipped = _usable_models(config, mosaic, cards)
    inputs = inspect_mosaic(mosaic)
    check_mosaic_size(inputs.id, inputs.ny, inputs.nx)
    check_halo(config, inputs, [cards[model.reference] for model in models])
    grid = TileGrid(inputs.id, inputs.ny, inputs.nx, config.tiling.core_px, config.tiling.halo_px)
    return MosaicPlan(inputs, grid, detection, models, skipped)


def _detection_bands(config: SurveyConfig, mosaic: MosaicConfig) -> tuple[str, ...]:
    if config.detection.bands is None:
        return tuple(band for band in DEFAULT_DETECTION if band in mosaic.bands) or mosaic.bands
    usable = tuple(band for band in config.detection.bands if band in mosaic.bands)
    if not usable:
        raise ConfigError(
            f"key 'detection.bands': mosaic {mosaic.id!r} has none of {', '.join(config.detection.bands)}: "
            f"its images are in {', '.join(mosaic.bands)}"
        )
    unknown = [band for band in config.detection.bands if not any(band in other.bands for other in config.mosaics)]
    if unknown:
        raise ConfigError(
            f"key 'detection.bands': no mosaic has a band {unknown[0]!r}: its images are in {', '.join(mosaic.bands)}"
        )
    return usable


def _check_bands(config: SurveyConfig, mosaic: MosaicConfig, cards: dict[str, Card], detection: tuple[str, ...]) -> None:
    """Refuse a band that nothing asks for and whose name is no known passband: it is most likely misspelled."""
    wanted = {config.bands.get(band, band) for card in cards.values() for band in card.bands}
    for band in mosaic.bands:
        if band not in wanted and band not in KNOWN_BANDS and band not in (config.detection.bands or ()):
            known = ", ".join(sorted({band for card in cards.values() for band in card.bands}))
            raise ConfigError(
                f"mosaic {mosaic.id!r}: no model knows the band {band!r} and it is no passband name that we know: "
                f"the models use {known}; map it with `bands: {{<model's band>: {band}}}`, rename it, or leave the image out"
            )


def _usable_models(
    config: SurveyConfig, mosaic: MosaicConfig, cards: dict[str, Card]
) -> tuple[tuple[ModelUse, ...], dict[str, str]]:
    models, skipped = [], {}
    for reference, card in cards.items():
        bands = tuple(config.bands.get(band, band) for band in card.bands)
        missing = [band for band in bands if band not in mosaic.bands]
        if missing:
            skipped[card.name] = f"needs {', '.join(bands)}, and there is no image in {', '.join(missing)}"
        else:
            ebv = mosaic.ebv if card.extinction else 0.0
            models.append(ModelUse(reference, card.name, card.task, bands, card.digest, ebv))
    return tuple(models), skipped


def _notes(config: SurveyConfig, mosaics: tuple[MosaicPlan, ...], cards: dict[str, Card]) -> Iterator[str]:
    """What the user should know before the run: skipped models, bands that only get photometry."""
    reasons: dict[str, list[str]] = {}
    for mosaic in mosaics:
        for name, reason in mosaic.skipped.items():
            reasons.setdefault(f"model {name} skipped: it {reason}", []).append(mosaic.id)
    for reason, ids in reasons.items():
        yield f"{reason} (mosaic {ids[0]}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''})"
    for mosaic in mosaics:
        if mosaic.inputs.regridded:
            bands = ", ".join(f"{band} ({scale:.3f} arcsec per pixel)" for band, scale in mosaic.inputs.regridded.items())
            yield f"mosaic {mosaic.id}: brought to the pixel grid of band {mosaic.inputs.grid_band}: {bands}"
        yield from _scale_notes(mosaic, cards)
    used = {band for mosaic in mosaics for model in mosaic.models for band in model.bands}
    only = sorted({band for mosaic in config.mosaics for band in mosaic.bands} - used)
    if only:
        yield f"photometry only, no model uses it: {', '.join(only)}"


def _scale_notes(mosaic: MosaicPlan, cards: dict[str, Card]) -> Iterator[str]:
    """Models whose stamps are drawn from pixels so much coarser than their own that details are missing."""
    scale = mosaic.inputs.pixel_scale
    coarse = [model.name for model in mosaic.models if scale > COARSE * cards[model.reference].pixel_scale]
    if coarse:
        yield (
            f"mosaic {mosaic.id}: its pixels of {scale:.3g} arcsec are over {COARSE} times as wide as those that "
            f"{', '.join(coarse)} learned from: details are missing, so do not believe these scores"
        )


def check_run(config: SurveyConfig) -> Plan:
    """Plan of a run of which everything has been checked that can be without reading pixels or starting a worker."""
    check_output(config)
    check_cluster(config.cluster)
    check_engine(config.engine.kind)
    return make_plan(config)
