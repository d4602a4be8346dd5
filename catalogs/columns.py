"""Columns of the catalog: names, types, units, UCDs, meanings and who fills them, of the sources and of each task of the models.

A vocabulary module: it imports only the schema classes and the names of bands, and every layer may import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from surveycnn.bands import spectrum_ucd
from surveycnn.schema import SOURCE_DIM, Plane, Schema, Variable

COMPONENT_DIM = "component"
"""Dimension of the Gaussians of a photo-z mixture."""
BAND_DIM, ANSWER_DIM = "band", "answer"
"""Dimensions of the cubes of fluxes and of morphologies."""

HEALPIX_COLUMN = "_healpix_29"
"""Name that HATS gives to the HEALPix order-29 index, by which rows are sorted."""

PRIVATE = "_"
"""First letter of the columns that tile files have and catalogs have not."""

FLAGS = PRIVATE + "flags"

_CENTRE = "windowed centroid, or the position in the user's table; 0-based pixel centres of the mosaic"


def position_columns() -> list[Variable]:
    """Identity, position and quality of a source, without measurements."""
    detected = [
        Variable("source_id", "i8", "unique number of the source, independent of the tiling", ucd="meta.id;meta.main"),
        Variable("ra", "f8", "right ascension, ICRS", "deg", "pos.eq.ra;meta.main"),
        Variable("dec", "f8", "declination, ICRS", "deg", "pos.eq.dec;meta.main"),
        Variable("mosaic", "str", "mosaic in which the source was detected or measured", ucd="meta.id;obs.image"),
        Variable("x", "f8", _CENTRE, "pix", "pos.cartesian.x;instr.pixel"),
        Variable("y", "f8", _CENTRE, "pix", "pos.cartesian.y;instr.pixel"),
    ]
    primary = Variable("is_primary", "bool", "the one row of this object of the sky", ucd="meta.code", filled_by="merge")
    flags = Variable("flags", "i4", "quality bits, see surveycnn.catalogs.flags", ucd="meta.code.qual", filled_by="every step")
    return [*_filled_by("detection", detected), primary, flags]


def _filled_by(step: str, variables: Iterable[Variable]) -> list[Variable]:
    return [replace(variable, filled_by=step) for variable in variables]


def photometry_columns(bands: Sequence[str]) -> list[Variable]:
    """Fluxes in two circular apertures per source, the same in every band: a Kron-like one and one of a fixed size."""
    columns = []
    for band in bands:
        density = f"phot.flux.density;{spectrum_ucd(band)}"
        for name, aperture in (("flux", "Kron-like"), ("flux_aper", "fixed")):
            flux = Variable(
                f"{name}_{band}", "f4", f"flux in {band} in the {aperture} aperture, NaN without data", "nJy", density
            )
            error = Variable(f"{name}_err_{band}", "f4", f"1 sigma error of {name}_{band}", "nJy", f"stat.error;{density}")
            columns += [
                replace(flux, plane=Plane(name, BAND_DIM, band)),
                replace(error, plane=Plane(f"{name}_err", BAND_DIM, band)),
            ]
    columns += [
        Variable("flux_radius", "f4", "radius of half the flux in the detection image", "arcsec", "phys.angSize"),
        Variable("kron_radius", "f4", "radius of the Kron-like aperture", "arcsec", "phys.angSize;instr.param"),
    ]
    return _filled_by("photometry", columns)


def source_schema(bands: Sequence[str], has_text_ids: bool | None = None) -> Schema:
    """Columns that every catalog has, whatever the models.

    Parameters
    ----------
    has_text_ids
        Whether the ids of a user's table, whose sources are measured, are text; None where sources are detected.
    """
    given = [] if has_text_ids is None else [input_id_column(has_text_ids)]
    return Schema(position_columns() + given + photometry_columns(bands))


def input_id_column(is_text: bool) -> Variable:
    """Column of the ids of a user's table of sources."""
    text = "id of the source in the user's table"
    return Variable("input_id", "str" if is_text else "i8", text, ucd="meta.id", filled_by="user's table")


def flags_column() -> Variable:
    """Column of tile files: the bits of `flags` that no model has set."""
    return Variable(FLAGS, "i4", "bits of flags that no model has set")


def model_flags_column(task: str) -> Variable:
    """Column of tile files: the bits of `flags` that the model of `task` has set, which go with it."""
    return Variable(model_flags_name(task), "i4", f"bits of flags that the {task} model has set")


def model_flags_name(task: str) -> str:
    """Name of :func:`model_flags_column`.

    >>> model_flags_name("lens")
    '_flags_lens'
    """
    return f"{FLAGS}_{task}"


def domain_column_name(task: str) -> str:
    """Name of the column that says how far a stamp is from what the model of `task` was trained on.

    >>> domain_column_name("morphology")
    'morph_domain'
    """
    prefix = {"morphology": "morph", "photoz": "pz"}.get(task, task)
    return f"{prefix}_domain"


def domain_column(task: str) -> Variable:
    """Column of a model that measures how far a stamp is from its training set."""
    text = "distance from the model's training set over that which holds 99 % of it; above 1 is outside its domain"
    return Variable(domain_column_name(task), "f4", text, ucd="stat.fit.residual", filled_by=f"{task} model")


def lens_columns(has_cascade: bool = False) -> list[Variable]:
    """Columns of a lens finder; `has_cascade` where a first stage stands before its network."""
    stage = "1: the first stage gave the numbers, the network was not asked; 2: the network did; 0: there is no number"
    columns = [
        Variable("lens_logit", "f4", "raw logit of the network", ucd="stat.likelihood"),
        Variable("lens_score", "f4", "calibrated probability at the training prior", ucd="stat.probability"),
        Variable("lens_prob", "f4", "calibrated probability at the survey's prior", ucd="stat.probability"),
        *([Variable("lens_stage", "i2", stage, ucd="meta.code", null=0)] if has_cascade else []),
    ]
    return _filled_by("lens model", columns)


def merger_columns() -> list[Variable]:
    """Columns of a merger classifier with staging."""
    columns = [
        Variable("merger_logit", "f4", "raw logit of the network", ucd="stat.likelihood"),
        Variable("merger_score", "f4", "calibrated probability at the training prior", ucd="stat.probability"),
        Variable("merger_prob", "f4", "calibrated probability at the survey's prior", ucd="stat.probability"),
        Variable("merger_time", "f4", "time since the first pericentre, if a merger", "Myr", "time.duration"),
        Variable("merger_time_err", "f4", "1 sigma uncertainty of merger_time", "Myr", "stat.error;time.duration"),
    ]
    return _filled_by("merger model", columns)


def morphology_columns(questions: Mapping[str, Sequence[str]]) -> list[Variable]:
    """Columns of a Galaxy Zoo classifier: expected vote fraction and Dirichlet concentration of each answer.

    Parameters
    ----------
    questions
        Answers of each question, both in lower case with underscores.
    """
    columns = []
    for question, answers in questions.items():
        for answer in answers:
            name = f"morph_{question}_{answer}"
            doc = f"expected fraction of votes for {answer!r} among those asked {question!r}"
            label, text = f"{question}_{answer}", f"Dirichlet concentration of {name}"
            plane, plane_conc = Plane("morph", ANSWER_DIM, label), Plane("morph_conc", ANSWER_DIM, label)
            columns.append(Variable(name, "f4", doc, ucd="stat.probability;src.morph", plane=plane))
            columns.append(Variable(f"{name}_conc", "f4", text, ucd="stat.param", plane=plane_conc))
    return _filled_by("morphology model", columns)


def photoz_columns(n_components: int) -> list[Variable]:
    """Columns of a photo-z mixture-density network with `n_components` Gaussians in redshift."""

    def per_component(name: str, doc: str, ucd: str) -> Variable:
        return Variable(name, "f4", doc, ucd=ucd, dims=(SOURCE_DIM, COMPONENT_DIM), sizes=(n_components,))

    columns = [
        Variable("z_phot", "f4", "photometric redshift, median of the PDF", ucd="src.redshift.phot"),
        Variable("z_phot_lo", "f4", "16 % quantile of the PDF", ucd="src.redshift.phot;stat.min"),
        Variable("z_phot_hi", "f4", "84 % quantile of the PDF", ucd="src.redshift.phot;stat.max"),
        Variable("z_mode", "f4", "mode of the PDF", ucd="src.redshift.phot"),
        per_component("pz_weight", "weights of the Gaussians of the PDF, sum 1", "stat.weight"),
        per_component("pz_mean", "means of the Gaussians of the PDF", "src.redshift.phot;stat.mean"),
        per_component("pz_sigma", "standard deviations of the Gaussians of the PDF", "src.redshift.phot;stat.stdev"),
    ]
    return _filled_by("photoz model", columns)
