"""The flow ``simulate``: a mosaic with known sources, and the configuration to run a survey on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field

from surveycnn.errors import ConfigError
from surveycnn.run.progress import Progress, Silent
from surveycnn.run.store import read_json, write_json
from surveycnn.sections import Strict

if TYPE_CHECKING:
    from astropy.table import Table

BANDS = ("g", "r", "i", "z")
TRUTH = "truth.fits"


class SimulateConfig(Strict):
    """What is simulated."""

    output: str = "runs/simulated"
    """Folder of the images, truth.fits and survey.yaml."""
    ny: int = Field(default=1500, ge=256, le=20000)
    nx: int = Field(default=1500, ge=256, le=20000)
    seed: int = Field(default=1, ge=0)
    n_lenses: int = Field(default=6, ge=0)
    n_mergers: int = Field(default=6, ge=0)


@dataclass(frozen=True)
class Simulated:
    """A simulated mosaic on disk."""

    folder: Path
    n_sources: int

    @property
    def truth(self) -> Table:
        """Every object that was drawn: kind, position, magnitude, redshift, ..."""
        from astropy.table import Table

        table = Table.read(self.folder / TRUTH)
        table.convert_bytestring_to_unicode()
        return table

    @property
    def survey_yaml(self) -> Path:
        """Configuration of a survey on the mosaic."""
        return self.folder / "survey.yaml"

    def summary(self) -> str:
        """A few lines for people."""
        return (
            f"{self.n_sources} objects drawn into {self.folder}, truth in {self.folder / TRUTH}\n"
            f"run it: surveycnn run-flow survey {self.survey_yaml}"
        )


def run_simulate(config: SimulateConfig, *, fresh: bool = False, progress: Progress | None = None) -> Simulated:
    """Simulate a mosaic, or find it where the same call has simulated it before."""
    folder, recipe = Path(config.output), config.model_dump(mode="json", exclude={"output"})
    record = read_json(folder / "recipe.json")
    if fresh or record is None or record["recipe"] != recipe or record["n_sources"] is None:
        _check_folder(folder, record)
        (progress or Silent()).message(f"simulating {config.ny} x {config.nx} px in {' '.join(BANDS)} into {folder}")
        write_json(folder / "recipe.json", {"recipe": recipe, "n_sources": None})  # ours, but not whole yet
        n_sources = _simulate(config, folder)
        write_json(folder / "recipe.json", {"recipe": recipe, "n_sources": n_sources})
    else:
        n_sources = record["n_sources"]
    return Simulated(folder, n_sources)


def _check_folder(folder: Path, record: dict[str, Any] | None) -> None:
    """Raise ConfigError where images that were not simulated here would be overwritten."""
    names = (*(f"{band}.fits" for band in BANDS), TRUTH, "survey.yaml")
    foreign = [name for name in names if (folder / name).exists()] if record is None else []
    if foreign:
        raise ConfigError(
            f"key 'output': {str(folder)!r} holds {', '.join(foreign)}, which were not simulated there (no recipe.json): "
            "give another folder"
        )


def _simulate(config: SimulateConfig, folder: Path) -> int:
    from surveycnn.simulation.scene import simulate_mosaic

    truth = simulate_mosaic(
        folder, ny=config.ny, nx=config.nx, bands=BANDS, seed=config.seed, n_lenses=config.n_lenses, n_mergers=config.n_mergers
    )
    survey = {"name": folder.name, "mosaics": [mosaic_entry(folder.name)], "tiling": {"core_px": 1024, "halo_px": 256}}
    (folder / "survey.yaml").write_text(yaml.safe_dump(survey, sort_keys=False), encoding="utf-8")
    return len(truth)


def mosaic_entry(name: str) -> dict[str, Any]:
    """Entry of a simulated mosaic under the key `mosaics` of a survey's configuration."""
    return {"id": name, "images": [{"band": band, "path": f"{band}.fits"} for band in BANDS]}
