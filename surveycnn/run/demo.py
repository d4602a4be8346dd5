"""The flow ``demo``: simulate a small survey, run the whole pipeline on it, and compare the catalog with the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from surveycnn.config import SurveyConfig, load_config
from surveycnn.run.progress import Progress, Silent
from surveycnn.run.publish import SurveyResult
from surveycnn.run.simulate import TRUTH, SimulateConfig, Simulated, run_simulate
from surveycnn.run.summary import closing_lines, run_lines
from surveycnn.run.survey import run_survey
from surveycnn.sections import Strict

if TYPE_CHECKING:
    import pandas as pd

MATCH_ARCSEC = 1.0
BRIGHT_I = 22.5
"""Limit of the galaxies that are counted: well above the depth, so that one that is missing has been missed."""
TOP_FRACTION = 0.02


class DemoConfig(Strict):
    """What the demo simulates and where it runs."""

    output: str = "runs/demo"
    ny: int = Field(default=1500, ge=512, le=8000)
    nx: int = Field(default=1500, ge=512, le=8000)
    seed: int = Field(default=1, ge=0)
    n_lenses: int = Field(default=6, ge=1)
    n_mergers: int = Field(default=6, ge=1)
    cluster: str = "local"


@dataclass(frozen=True)
class DemoResult:
    """The published catalog, and how it compares with what was drawn."""

    survey: SurveyResult
    simulated: Simulated
    findings: tuple[str, ...]
    """One line each."""

    @property
    def is_complete(self) -> bool:
        return self.survey.is_complete

    def summary(self) -> str:
        """Findings and what to do next, for people."""
        compared = ["what the survey found, against what was drawn:", *(f"  {finding}" for finding in self.findings)]
        truth = f"truth:   {self.simulated.folder / TRUTH}"
        return "\n".join([*run_lines(self.survey), *compared, truth, *closing_lines(self.survey)])


def run_demo(
    config: DemoConfig,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
    survey: Callable[..., SurveyResult] = run_survey,
) -> DemoResult:
    """Simulate, run and compare; the same call again goes on where it stopped.

    Parameters
    ----------
    survey
        What runs the survey: the plain function, or the Prefect flow.
    """
    progress = progress or Silent()
    recipe = config.model_dump(include={"ny", "nx", "seed", "n_lenses", "n_mergers"})
    folder = Path(config.output) / "simulated"
    simulated = run_simulate(SimulateConfig(output=str(folder), **recipe), fresh=fresh, progress=progress)
    result = survey(survey_config(config, simulated), fresh=fresh, progress=progress)
    return DemoResult(result, simulated, tuple(compare(result.output, simulated)))


def survey_config(config: DemoConfig, simulated: Simulated) -> SurveyConfig:
    """Configuration of the survey on the simulated mosaic."""
    overrides = [f"output={config.output}", f"cluster={config.cluster}", "name=demo"]
    return load_config(simulated.survey_yaml, overrides)


def compare(catalog: Path, simulated: Simulated) -> list[str]:
    """What the catalog says about the objects that were drawn, one line each."""
    from surveycnn.catalogs.query import open_catalog

    rows = open_catalog(catalog).where("is_primary").to_pandas()
    truth = simulated.truth.to_pandas()
    index = nearest(truth["ra"], truth["dec"], rows["ra"], rows["dec"], MATCH_ARCSEC)
    galaxies = (truth["kind"] != "star").to_numpy() & (truth["mag_i"] < BRIGHT_I).to_numpy()
    n_found = int((index[galaxies] >= 0).sum())
    findings = [f"galaxies brighter than i = {BRIGHT_I}: {n_found} of {int(galaxies.sum())} detected"]
    findings += [_recovered(rows, truth, index, kind, f"{kind}_logit") for kind in ("lens", "merger")]
    return [*findings, _redshifts(rows, truth, index, galaxies)]


def nearest(ra: Any, dec: Any, other_ra: Any, other_dec: Any, radius_arcsec: float) -> np.ndarray:
    """Index of the nearest of the other positions (degrees) to each position, -1 where none is within the radius."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    if len(other_ra) == 0:
        return np.full(len(ra), -1)
    here, there = (SkyCoord(np.asarray(a), np.asarray(d), unit="deg") for a, d in ((ra, dec), (other_ra, other_dec)))
    index, distance, _ = here.match_to_catalog_sky(there)
    return np.where(distance < radius_arcsec * u.arcsec, index, -1)


def _recovered(rows: pd.DataFrame, truth: pd.DataFrame, index: np.ndarray, kind: str, score: str) -> str:
    """How many of the objects of `kind` lie in the top of the catalog by `score`."""
    drawn = index[(truth["kind"] == kind).to_numpy()]
    n_top = max(1, round(TOP_FRACTION * len(rows)))
    rank = rows[score].rank(ascending=False, method="first").to_numpy()
    ranks = sorted(int(rank[i]) for i in drawn[drawn >= 0] if np.isfinite(rank[i]))
    n_high = sum(r <= n_top for r in ranks)
    return (
        f"{kind}: {len(drawn)} drawn, {len(ranks)} detected, {n_high} in the top {n_top} of {len(rows)} by {score} "
        f"(ranks {', '.join(map(str, ranks))})"
    )


def _redshifts(rows: pd.DataFrame, truth: pd.DataFrame, index: np.ndarray, galaxies: np.ndarray) -> str:
    """Bias and scatter of the redshifts of the galaxies that were drawn and found."""
    found = galaxies & (index >= 0) & (truth["kind"] == "galaxy").to_numpy()
    z_true = truth["redshift"].to_numpy()[found]
    dz = (rows["z_phot"].to_numpy()[index[found]] - z_true) / (1 + z_true)
    dz = dz[np.isfinite(dz)]
    if dz.size == 0:
        return "redshifts: none to compare"
    nmad = 1.4826 * np.median(np.abs(dz - np.median(dz)))
    return (
        f"redshifts of {dz.size} galaxies brighter than i = {BRIGHT_I}: median dz/(1+z) {np.median(dz):+.3f}, "
        f"sigma_NMAD {nmad:.3f}, |dz|/(1+z) > 0.15 for {100 * np.mean(np.abs(dz) > 0.15):.0f} %"
    )
