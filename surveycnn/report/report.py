"""The report of a catalog: one file with figures of the run, the sky, the candidates and the models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from surveycnn.catalogs.flags import FLAGS
from surveycnn.catalogs.query import Catalog, open_catalog
from surveycnn.catalogs.source import REPORT
from surveycnn.errors import CatalogError, UserError, printable
from surveycnn.models.card import Card
from surveycnn.report import model_panels, panels, redshift_panels
from surveycnn.report.candidates import gallery, places
from surveycnn.report.density import Density
from surveycnn.report.figures import compact
from surveycnn.report.gather import Gathered, gather
from surveycnn.report.headline import headline
from surveycnn.report.page import render, write
from surveycnn.report.record import Record
from surveycnn.report.sky_map import sky_map
from surveycnn.report.stamps import FIELD_ARCSEC, OpenChunks, Pictures, cut_pictures
from surveycnn.report.truth import RedshiftMetrics, Truth, find_truth, read_truth

N_TOP = 60
"""Candidates of each ranking."""
MOST_TOP = 300
"""With which a page stays below 15 MB."""
MOST_CONFIG = 300_000
"""Letters of a configuration that is shown."""
_METRICS = {
    "lens": ("auroc", "tpr_fpr1e3", "tpr10", "ece", "shifted_auroc"),
    "merger": ("auroc", "balanced_accuracy", "purity_2pc_half", "ece", "time_median_error"),
    "morphology": ("smooth_or_featured_accuracy", "has_spiral_arms_accuracy", "bar_accuracy", "fraction_error", "coverage90"),
    "photoz": ("sigma_nmad", "eta_0.15", "crps", "pit_ks", "coverage90"),
}


def write_report(
    path: str | Path,
    output: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    n_top: int = N_TOP,
    open_chunks: OpenChunks | None = None,
) -> Path:
    """Write the report of the catalog in a folder.

    The same catalog, with the same work directory, gives the same bytes.

    Parameters
    ----------
    output
        File of the page; by default report.html in the catalog's folder.
    truth
        Table with positions and redshifts or kinds, to compare with; by default that of a simulation beside the catalog.
    n_top
        Candidates of each ranking, besides a third as many outside of the model's domain.
    open_chunks
        Gives the pixels of a mosaic, for the pictures; None where there are none.

    Raises
    ------
    CatalogError
        Where there is no catalog, its rows cannot be read, or the page cannot be written.
    """
    if not 0 <= n_top <= MOST_TOP:
        raise CatalogError(f"--top {n_top}: expected a number of candidates from 0 to {MOST_TOP}")
    catalog = open_catalog(path)
    page = make_page(catalog, truth=truth, n_top=n_top, open_chunks=open_chunks or _no_chunks, is_beside=output is None)
    return write(page, Path(path) / REPORT if output is None else Path(output))


def _no_chunks(mosaic: str) -> Any:
    raise CatalogError("the work directory of the run, which holds the pixels, is not there")


def make_page(catalog: Catalog, *, truth: str | Path | None, n_top: int, open_chunks: OpenChunks, is_beside: bool) -> str:
    """The page of a catalog."""
    record, trouble = Record.of(catalog)
    notes = [trouble] if trouble else []
    cards = record.cards()
    found = gather(catalog, cards, n_top)
    searched, area = _searched(catalog, notes)
    known = _truth(catalog, found, truth, notes)
    density = found.cells.density(searched) if found.layout.has_places else None
    sources, rankings = gallery(found)
    pictures = cut_pictures(places(sources), found.layout.bands, open_chunks, found.balance)
    name = printable(record.text("config", "name") or record.text("catalog", "name") or catalog.name)
    data = _data(name, catalog, record, found, sources, rankings, pictures, known, is_beside)
    return render(
        data,
        name=name,
        notes=notes,
        headline=headline(record, found, area),
        sky=sky_map(density) if density is not None and len(density.cells) else None,
        density=_density_text(density),
        counts=panels.present([panels.number_counts(found, area), panels.sizes(found)]),
        rankings=rankings,
        n_pictures=sum(uri is not None for uri in pictures.uris),
        n_candidates=len(sources),
        pictures=pictures,
        picture_arcsec=FIELD_ARCSEC,
        flags=_flag_rows(found),
        n_primary=found.n_primary,
        n_clean=found.n_clean,
        models=[_model(task, found, cards.get(task), known) for task in found.layout.tasks],
        redshifts=_redshift_panels(found, known),
        redshift_metrics=_redshift_metrics(known),
        truth=known,
        record=record,
        config=_config_text(record),
        versions=sorted(record.texts("versions").items()),
        columns=len(catalog.columns),
        band=found.band,
    )


def _config_text(record: Record) -> str:
    """Configuration of the run as it is written; empty where there is none, or more than anybody copies."""
    config = record.part("config")
    text = printable(yaml.safe_dump(config, sort_keys=True, allow_unicode=True)) if config else ""
    return text if len(text) <= MOST_CONFIG else ""


def _searched(catalog: Catalog, notes: list[str]) -> tuple[Any, float | None]:
    """MOC of the sky that was searched and its area in square degrees; None where it is not known."""
    try:
        moc = catalog.coverage
    except CatalogError as error:
        notes.append(str(error))
        return None, None
    from surveycnn.catalogs.area import area_of

    return moc, area_of(moc)


def _truth(catalog: Catalog, found: Gathered, given: str | Path | None, notes: list[str]) -> Truth | None:
    """The truth, if there is one; one that is given has to be right."""
    path = find_truth(catalog, given)
    if path is None or not found.layout.has_places:
        return None
    try:
        return read_truth(catalog, found.layout, path)
    except UserError as error:
        if given is not None:
            raise
        notes.append(str(error))
        return None


def _data(
    name: str,
    catalog: Catalog,
    record: Record,
    found: Gathered,
    sources: list[dict[str, Any]],
    rankings: list[dict[str, Any]],
    pictures: Pictures,
    truth: Truth | None,
    is_beside: bool,
) -> dict[str, Any]:
    """What the script of the page gets."""
    kinds = truth.kinds if truth is not None else {}
    for source, uri in zip(sources, pictures.uris, strict=True):
        source["picture"] = uri
        source["truth"] = kinds.get(int(source["id"]))
    run = record.text("run_digest") or ""
    # the page finds its own place when it is opened as a file; the path of the run may have moved
    path = name if is_beside else str(catalog.path)
    return {
        "name": name,
        "key": f"surveycnn.grades.{name}.{run[:16]}",
        "path": printable(path),
        "isBeside": is_beside,
        "band": found.band,
        "flags": [{"value": flag.value, "name": flag.name, "doc": flag.doc} for flag in FLAGS],
        "sources": sources,
        "rankings": rankings,
        "compass": {mosaic: list(found) for mosaic, found in pictures.compass.items()},
        "bands": list(found.layout.bands),
        "pictureArcsec": FIELD_ARCSEC,
    }


def _density_text(density: Density | None) -> str:
    if density is None or not len(density.cells):
        return ""
    mean = density.counts.sum() / (density.area.sum() * 3600)
    side = 60 * 58.6 / 2**density.order
    return (
        f"{compact(float(mean))} primary sources per arcmin² on average; {len(density.cells):,} cells of {compact(side)} arcmin."
    )


def _flag_rows(found: Gathered) -> list[dict[str, Any]]:
    if not found.layout.has("flags"):
        return []
    n = max(found.n_primary, 1)
    return [
        {
            "value": flag.value,
            "name": flag.name,
            "doc": flag.doc,
            "n": found.flags[flag.name],
            "share": found.flags[flag.name] / n,
        }
        for flag in FLAGS
    ]


def _model(task: str, found: Gathered, card: Card | None, truth: Truth | None) -> dict[str, Any]:
    """What the page says of a model."""
    domain = found.domains.get(task)
    shown = [
        model_panels.scores(task, found, card),
        model_panels.calibration(task, card),
        model_panels.measured_reliability(task, card),
        model_panels.reliability(task, truth) if truth is not None else None,
        model_panels.votes(found, card) if task == "morphology" else None,
        model_panels.domain_magnitudes(task, found, card),
        model_panels.distances(task, found),
    ]
    return {
        "task": task,
        "name": card.name if card is not None else task,
        "version": card.version if card is not None else "",
        "notes": card.notes if card is not None else "",
        "panels": panels.present(shown),
        "n_outside": domain.n_outside if domain is not None else 0,
        "share_outside": domain.n_outside / found.n_primary if domain is not None and found.n_primary else 0.0,
        "metrics": _metric_rows(task, card),
        "is_known": card is not None,
        "seeing": card.domain.seeing_arcsec if card is not None and card.domain is not None else None,
    }


def _metric_rows(task: str, card: Card | None) -> list[dict[str, str]]:
    metrics: Mapping[str, Any] = card.metrics if card is not None else {}
    rows = []
    for name in _METRICS[task]:
        if name in metrics:
            metric = metrics[name]
            interval = f"{metric.interval[0]:.4g} to {metric.interval[1]:.4g}" if metric.interval is not None else ""
            rows.append({"name": name, "value": f"{metric.value:.4g}", "interval": interval, "definition": metric.definition})
    return rows


def _redshift_panels(found: Gathered, truth: Truth | None) -> list[panels.Panel]:
    shown = [redshift_panels.distribution(found, truth), redshift_panels.widths(found)]
    return panels.present(shown) + (redshift_panels.against_truth(truth) if truth is not None else [])


def _redshift_metrics(truth: Truth | None) -> list[tuple[str, RedshiftMetrics]]:
    if truth is None or not truth.has_redshifts:
        return []
    rows = [
        ("inside of the domain", RedshiftMetrics.of(truth.z_true[truth.inside], truth.z_phot[truth.inside])),
        ("all", RedshiftMetrics.of(truth.z_true, truth.z_phot)),
    ]
    return [(name, metrics) for name, metrics in rows if metrics is not None]
