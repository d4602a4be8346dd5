"""What each page of the documentation needs to be run: :class:`documented.running.Scenario`.

To add a page, write its commands so that they run within seconds on a small run, and add an entry here if it takes anything for
granted: files (``place``), names in Python (``names``), larger numbers than a test should run (``replace``, ``options``). What
cannot run at all stands in `not_run.py`. A page without an entry is run in an empty folder. To try one:
``pytest tests/docs/test_commands.py -k tutorial``.

A YAML block whose first line is ``# kids.yaml`` is written to that file once it has been checked, so that the commands below it
take it. A command that the page shows behind ``$`` with a message of ours below it must end with that message.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from documented.running import Place, Scenario
from documented.skies import (
    kids_images,
    kids_survey,
    lens_list,
    redshift_tables,
    spectra,
    truth_of_demo,
    write_images,
)

from surveycnn.catalogs.query import open_catalog
from surveycnn.cli import main

FAST_FIT = {"surveycnn photoz fit": "--epochs 2 --members 2"}


def a_source(place: Place) -> str:
    return str(open_catalog(place.small_run)["source_id"][0])


def set_models(*models: str) -> Any:
    """An edit of kids.yaml."""
    path = Path("kids.yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"models": list(models)}, sort_keys=False))


def readme(place: Place) -> None:
    kids_images(place)
    lens_list(place)
    redshift_tables(place)
    place.link_run("runs/demo")


def readme_names(place: Place) -> dict[str, Any]:
    return {"bins": np.linspace(0, 2, 5), "stamps": np.ones((2, 64, 64, 3), "f4")}


def buckets(place: Place) -> None:
    """The images of the bucket beside the manifest: tests/deploy/test_cloud.py fetches them from a server."""
    write_images(place.folder, {band: f"t001/{band}.fits" for band in "gri"})
    lines = ["mosaic,band,path", *(f"t001,{band},t001/{band}.fits" for band in "gri")]
    (place.folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def mosaic_files(place: Place) -> None:
    (place.folder / "manifest.csv").write_text("mosaic,band,path\nt001,g,tiles/t001_g.fits\n")
    (place.folder / "tiles").mkdir()
    for name in ("t001_g.fits", "t001_g.weight.fits", "t001_r_v2.fits"):
        (place.folder / "tiles" / name).touch()


def poor_run(place: Place) -> None:
    """The small run under another name, with a work directory that may be changed, and grades of its sources."""
    copy = shutil.copytree(place.small_run, place.folder / "runs" / "poor")
    survey = yaml.safe_load((place.sky / "survey.yaml").read_text())
    for image in survey["mosaics"][0]["images"]:
        image["path"] = str(place.sky / image["path"])
    Path("poor.yaml").write_text(yaml.safe_dump(survey | {"output": str(copy)}))
    rows = open_catalog(copy).where("is_primary").to_pandas()
    bright = (rows["flux_i"] > rows["flux_i"].median()).astype(int)
    rows[["source_id", "ra", "dec"]].assign(model="lens", label=bright).to_csv("grades.csv", index=False)


def demo_and_mosaics(place: Place) -> None:
    """runs/demo, with images of g r i z in the place of those that it has simulated."""
    folder = place.link_run("runs/demo") / "simulated"
    write_images(folder, {band: f"{band}.fits" for band in "griz"})


SCENARIOS: dict[str, Scenario] = {
    "README.md": Scenario(
        place=readme,
        names=readme_names,
        replace={
            r"origin\(source_id\)": 'origin(int(cat["source_id"][0]))',
            "model lens added": "model morphology added",  # the queries before it are by columns of the lens finder
        },
        options=FAST_FIT,
        before={
            "surveycnn run-flow survey kids.yaml": lambda: set_models("lens", "merger", "photoz"),
            "$ surveycnn run-flow survey kids.yaml": lambda: set_models("lens", "morphology", "merger", "photoz"),
        },
    ),
    "docs/calibration.md": Scenario(place=truth_of_demo),
    "docs/reading_columns.md": Scenario(place=lambda place: place.link_run("runs/demo")),
    "docs/tutorial.md": Scenario(place=demo_and_mosaics),
    "docs/catalog.md": Scenario(place=lambda place: place.link_run("runs/demo"), replace={r"\b\d{19}\b": a_source}),
    "docs/cloud_storage.md": Scenario(place=buckets, replace={r'fsspec.filesystem\("s3"\)': 'fsspec.filesystem("memory")'}),
    "docs/crossmatch.md": Scenario(place=lambda place: (place.link_run("runs/kids"), lens_list(place), truth_of_demo(place))),
    "docs/faq.md": Scenario(place=lambda place: kids_survey(place, "lens")),
    "docs/index.md": Scenario(place=lambda place: place.link_run("runs/demo")),
    "docs/laptop.md": Scenario(
        place=lambda place: write_images(
            place.folder, {band: f"reprojected_sdss_{band}.fits.bz2" for band in "gri"}, zeropoint=22.5
        ),
        options=dict.fromkeys(("surveycnn plan sdss.yaml", "surveycnn run-flow survey sdss.yaml"), "--set models=[lens]"),
    ),
    "docs/mosaics.md": Scenario(place=mosaic_files),
    "docs/own_labels.md": Scenario(place=poor_run, options={"surveycnn run-flow train my_lens.yaml": "--set epochs=1"}),
    "docs/own_model.md": Scenario(place=kids_survey),
    "docs/photometric_redshifts.md": Scenario(
        place=lambda place: (redshift_tables(place), place.link_run("runs/kids")), options=FAST_FIT
    ),
    "docs/prefect.md": Scenario(
        place=lambda place: write_images(place.folder, {band: f"incoming/a_{band}.fits" for band in "gri"}),
        options={"surveycnn run-flow watch": "--set models=[merger]"},
        ends={"surveycnn deploy check prefect": 2},
    ),
    "docs/report.md": Scenario(place=lambda place: (place.link_run("runs/demo"), spectra(place))),
    "docs/security.md": Scenario(replace={"/scratch/me": lambda place: str(place.folder)}),
    "docs/slurm.md": Scenario(
        place=kids_survey, before={"$ surveycnn status": lambda: main(["run-flow", "ingest", "kids.yaml", "--no-prefect"])}
    ),
    "docs/terminal.md": Scenario(place=lambda place: (kids_survey(place), place.link_run("runs/demo"))),
}
