"""Configuration of a survey run: one YAML file to one validated, immutable tree.

Loading touches no disk but the file itself, a manifest that it names, and the folders in which placeholders look. What depends
on the images (zero points, shapes, bands) is checked by the plan.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from surveycnn.mosaic_lists import Keys, expand_mosaics
from surveycnn.mosaic_patterns import IMAGE_PATHS, absolute_path
from surveycnn.paths import check_is_folder, check_no_password
from surveycnn.sections import Strict, apply_overrides, read_yaml, validate_section

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
"""Names that become file names: they cannot leave the folder that they are put into."""

MAX_ZEROPOINT = 100.0
"""Magnitudes; of either sign."""

CORE_STEP_PX = 64
"""Tile cores are multiples of this, so that they divide into Zarr chunks of useful size."""

BAND_PATTERN = "[A-Za-z][A-Za-z0-9_]{0,19}"


def _written_as(pattern: str, text: str) -> BeforeValidator:
    """Refuses other texts in words: pydantic quotes the pattern."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise ValueError(f"expected {text}")
        return value

    return BeforeValidator(check)


Name = Annotated[
    str,
    Field(pattern=rf"^{NAME_PATTERN}$"),
    _written_as(NAME_PATTERN, "up to 100 letters, digits and . _ + -, a letter or a digit first, no blanks"),
]
Band = Annotated[
    str,
    Field(pattern=rf"^{BAND_PATTERN}$"),
    _written_as(BAND_PATTERN, "up to 20 letters, digits and _, a letter first: it stands in the names of columns"),
]


class ImageConfig(Strict):
    """One band of a mosaic."""

    band: Band
    """Name of the band, which stands in the names of columns."""
    path: str = Field(min_length=1)
    """FITS file, cfitsio style: ``file.fits[1]`` or ``file.fits[SCI]``; .fz, .gz and .bz2 too."""
    zeropoint: float | None = Field(default=None, ge=-MAX_ZEROPOINT, le=MAX_ZEROPOINT)
    """AB magnitude of one data unit; None reads it from the header."""
    plane: int | None = Field(default=None, ge=0)
    """Plane of a cube, 0-based."""
    weight: str | None = None
    """Inverse variance map, in data units to the power -2."""
    variance: str | None = None
    """Variance map, in data units squared; at most one of the three maps."""
    rms: str | None = None
    """Map of the noise, in data units."""
    mask: str | None = None
    """Mask image, nonzero = bad."""
    wcs: str | None = None
    """Header file with the WCS of an image that is not on the grid of its mosaic; None takes that of the image's header."""
    nodata: float | None = None
    """Value of pixels without data, besides NaN; in data units."""
    saturation: float | None = Field(default=None, gt=0)
    """Pixels at and above it are saturated; in data units. None takes SATURATE of the header, where it is."""

    _no_password = field_validator(*IMAGE_PATHS)(check_no_password)

    @model_validator(mode="after")
    def _one_noise_map(self) -> ImageConfig:
        given = [key for key in ("weight", "variance", "rms") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of weight, variance and rms, found {' and '.join(given)}")
        return self


class MosaicConfig(Strict):
    """Images of one piece of sky on one pixel grid."""

    id: Name
    """Name of the mosaic, different from all others."""
    wcs: str | None = None
    """Header file (text or FITS) with the WCS; None takes the WCS of the first image's header."""
    ebv: float = Field(default=0.0, ge=0, le=10)
    """E(B-V) of the Milky Way in front of the mosaic, magnitudes, from which models with extinction coefficients free what they
    see; 0 where the images are free of it. Fluxes in the catalog stay as they are measured."""
    grid: Band | None = None
    """Band whose image has the pixel grid of the mosaic, to which images on other grids are brought; None takes the first."""
    images: tuple[ImageConfig, ...] = Field(min_length=1)
    """One for each band."""

    _no_password = field_validator("wcs")(check_no_password)

    @model_validator(mode="after")
    def _known_grid(self) -> MosaicConfig:
        if self.grid is not None and self.grid not in self.bands:
            raise ValueError(
                f"mosaic {self.id!r} has no band {self.grid!r} (key grid): its images are in {', '.join(self.bands)}"
            )
        return self

    @model_validator(mode="after")
    def _one_wcs_of_the_grid(self) -> MosaicConfig:
        image = next(image for image in self.images if self.grid in (None, image.band))
        if self.wcs is not None and image.wcs is not None:
            raise ValueError(
                f"give `wcs` for mosaic {self.id!r} or for its image in {image.band}, whose grid it has, not for both"
            )
        return self

    @model_validator(mode="after")
    def _distinct_bands(self) -> MosaicConfig:
        bands = [image.band for image in self.images]
        twice = sorted({band for band in bands if bands.count(band) > 1})
        if twice:
            raise ValueError(f"mosaic {self.id!r} has more than one image in band {', '.join(twice)}")
        return self

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(image.band for image in self.images)


class TilingConfig(Strict):
    """How a mosaic is cut; the catalog does not depend on it but for objects larger than the halo."""

    core_px: int = Field(default=2048, ge=CORE_STEP_PX, le=16384, multiple_of=CORE_STEP_PX)
    """Side of a tile without its halo. Larger tiles read less halo and need more memory."""
    halo_px: int = Field(default=256, ge=96, le=4096)
    """Margin that is read around a core. Narrower ones would not hold the largest aperture with what is beside it."""


class DetectionConfig(Strict):
    """Where sources come from."""

    bands: tuple[Band, ...] | None = None
    """Bands that are combined; None takes those of g, r and i that a mosaic has, or else all."""
    combine: Literal["sum", "chi2"] = "sum"
    """How bands are combined: their sum weighted for a flat spectrum, or the chi-squared image (Szalay et al. 1999)."""
    threshold_sigma: float = Field(default=3.0, gt=0.5, le=1000)
    """Height of a pixel above the sky, in noise of one band: as many false detections as that gives."""
    min_area_px: int = Field(default=5, ge=1, le=10000)
    """Pixels above the threshold that touch each other, at least."""
    catalog: str | None = None
    """Table of sources to measure instead of detecting any: FITS, Parquet, CSV, ECSV or VOTable."""
    ra: str = "ra"
    """Column of the catalog, degrees, ICRS."""
    dec: str = "dec"
    """Column of the catalog, degrees, ICRS."""
    id: str | None = None
    """Column of the catalog that is kept as `input_id`; None takes a column of a customary name, or else numbers the rows."""

    @model_validator(mode="after")
    def _columns_of_a_catalog(self) -> DetectionConfig:
        named = [key for key in ("ra", "dec", "id") if getattr(self, key) != type(self).model_fields[key].default]
        if named and self.catalog is None:
            raise ValueError(f"{' and '.join(named)} name columns of detection.catalog, which is not given: add it")
        return self


class PhotometryConfig(Strict):
    """How fluxes are measured."""

    aperture_arcsec: float = Field(default=2.0, gt=0, le=120)
    """Diameter of the fixed aperture."""


class EngineConfig(Strict):
    """What computes the forward passes."""

    kind: Literal["auto", "tensorflow", "jax", "torch", "openvino"] = "auto"
    """``auto`` is OpenVINO on CPUs and TensorFlow on GPUs."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is float32."""
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=65536)] = "auto"
    """Stamps per forward pass."""


class LimitsConfig(Strict):
    """How long a unit of work may take before it is taken to hang.

    On a Dask cluster the worker process of a unit that hangs is killed and started anew; what else it was at is done again. The
    unit is tried once more when nothing else runs, and given up if it hangs again. Where units run in this process (``serial``,
    ``threads``), nothing can end one, and the limits do not hold: stop the run, and the same command goes on.
    """

    tile_seconds: float = Field(default=3600.0, gt=0)
    """Of a tile, loading the models included. The slowest tile of a run should stay far below it."""
    ingest_seconds: float = Field(default=86400.0, gt=0)
    """Of one band of a mosaic, which is read as a whole."""


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class SurveyConfig(Strict):
    """All that a survey run needs to know."""

    name: Name
    """Name of the run and of its catalog."""
    output: str = ""
    """Folder of the published catalog; empty means runs/<name>."""
    work_dir: str = ""
    """Folder of the chunk store and the tile results; empty means <output>/work."""
    mosaics: tuple[MosaicConfig, ...] = Field(min_length=1)
    """A list, whose entries may have placeholders in their paths, or the path of a manifest: :mod:`surveycnn.mosaic_lists`."""
    tiling: TilingConfig = TilingConfig()
    detection: DetectionConfig = DetectionConfig()
    photometry: PhotometryConfig = PhotometryConfig()
    bands: dict[Band, Band] = {}
    """Our band for a model's band: ``{z: Z}``."""
    models: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ("lens", "morphology", "merger", "photoz")
    """Names of shipped models, or paths of model packages."""
    engine: EngineConfig = EngineConfig()
    cluster: str = "local"
    """``local``, ``serial``, ``threads``, a file in deploy/clusters by its name, a cluster file, or a scheduler's address."""
    limits: LimitsConfig = LimitsConfig()
    formats: tuple[Literal["hats", "zarr", "fits"], ...] = Field(default=("hats", "zarr", "fits"), min_length=1)
    """Files of the catalog."""
    report: bool = True
    """Whether the run also writes report.html; `surveycnn report` writes it at any time."""

    _folders = field_validator("output", "work_dir")(check_is_folder)

    @field_validator("mosaics", mode="before", json_schema_input_type=str | tuple[MosaicConfig, ...])
    @classmethod
    def _expanded(cls, mosaics: Any, info: ValidationInfo) -> Any:
        return expand_mosaics(mosaics, (info.context or {}).get("folder") or Path.cwd(), _manifest_keys())

    @field_validator("mosaics")
    @classmethod
    def _distinct_ids(cls, mosaics: tuple[MosaicConfig, ...]) -> tuple[MosaicConfig, ...]:
        ids = [mosaic.id for mosaic in mosaics]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"mosaic id {twice[0]!r} is used more than once")
        return mosaics

    @property
    def output_path(self) -> Path:
        return Path(self.output or Path("runs") / self.name)

    @property
    def work_path(self) -> Path:
        return Path(self.work_dir) if self.work_dir else self.output_path / "work"


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> SurveyConfig:
    """Configuration of a survey run from a YAML file, with the mosaics of manifests and placeholders written out.

    Parameters
    ----------
    path
        YAML file; relative paths of inputs are relative to its folder, those of outputs to the current folder.
    overrides
        ``a.b=value`` strings that replace values, the value itself in YAML; list items by number: ``mosaics.0.id=x``.

    Raises
    ------
    ConfigError
        Where the file cannot be read or a key or value cannot be used; all findings in one message.
    """
    path = Path(path)
    folder = path.resolve().parent
    tree = apply_overrides(read_yaml(path), overrides)
    return resolve_paths(validate_section(SurveyConfig, tree, str(path), folder), folder)


def _manifest_keys() -> Keys:
    return Keys(
        image=tuple(ImageConfig.model_fields),
        mosaic=tuple(key for key in MosaicConfig.model_fields if key not in ("id", "images")),
        check_image=partial(validate_section, ImageConfig),
        check_mosaic=partial(validate_section, MosaicConfig),
    )


def resolve_paths(config: SurveyConfig, folder: Path) -> SurveyConfig:
    """Copy of `config` with absolute paths.

    Inputs, model packages and a cluster file that is there are relative to `folder`, outputs to the current one.
    """

    def absolute(path: str | None) -> str | None:
        return None if path is None else absolute_path(path, folder)

    def image_with(image: ImageConfig) -> ImageConfig:
        return image.model_copy(update={key: absolute(getattr(image, key)) for key in IMAGE_PATHS})

    mosaics = tuple(
        mosaic.model_copy(update={"wcs": absolute(mosaic.wcs), "images": tuple(map(image_with, mosaic.images))})
        for mosaic in config.mosaics
    )
    looks_like_path = re.compile(r"[/\\]|^\.")
    models = tuple(absolute(model) if looks_like_path.search(model) else model for model in config.models)
    detection = config.detection.model_copy(update={"catalog": absolute(config.detection.catalog)})
    cluster_file = folder / config.cluster
    cluster = str(cluster_file) if cluster_file.suffix in (".yaml", ".yml") and cluster_file.is_file() else config.cluster
    outputs = {
        "cluster": cluster,
        "output": str(config.output_path.expanduser().absolute()),
        "work_dir": str(config.work_path.expanduser().absolute()),
    }
    return config.model_copy(update={"mosaics": mosaics, "models": models, "detection": detection, **outputs})
