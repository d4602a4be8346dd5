"""Tile files of mosaics that overlap by halves and see the same objects, for tests of how they are merged."""

import numpy as np
import pyarrow.parquet as pq
from astropy.wcs import WCS

from surveycnn.catalogs.columns import source_schema
from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.schema import Schema
from surveycnn.sources.identity import PIXEL_BITS

SIZE_PX = 3000
SCHEMA = source_schema(["r"])


def mosaic(number: int, ra: float, dec: float) -> Footprint:
    """A square of 50 arcmin, in which neighbours overlap by a half."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [SIZE_PX / 2, SIZE_PX / 2]
    wcs.wcs.crval = [(ra + number * 25 / 60 / np.cos(np.radians(dec))) % 360, dec]
    wcs.wcs.cdelt = [-1 / 3600, 1 / 3600]
    wcs.wcs.set()
    return Footprint(f"m{number}", wcs, SIZE_PX, SIZE_PX, ((0, 500, 0, 400),) if number == 1 else ())


def write_survey(folder, ra, dec, seed, n_mosaics=3, n_sources=900, extra=()):
    """Tile files of mosaics that see the same objects, with scatter, and chains of objects closer than an arcsecond."""
    rng = np.random.default_rng(seed)
    footprints = [mosaic(number, ra, dec) for number in range(n_mosaics)]
    paths = []
    width = n_mosaics * 25 / 60 / np.cos(np.radians(dec))
    sky_ra, sky_dec = ra + rng.uniform(-0.5, 1, n_sources) * width, dec + rng.uniform(-0.4, 0.4, n_sources)
    chain = rng.integers(0, n_sources, n_sources // 10)
    sky_ra = np.concatenate([sky_ra, sky_ra[chain] + 0.8 / 3600])
    sky_dec = np.concatenate([sky_dec, sky_dec[chain]])
    schema = SCHEMA + Schema(extra)
    for number, place in enumerate(footprints):
        x, y = place.wcs.all_world2pix(sky_ra, sky_dec, 0)
        x, y = x + rng.normal(0, 0.3, len(x)), y + rng.normal(0, 0.3, len(y))
        seen = np.flatnonzero((x > 0) & (x < SIZE_PX - 1) & (y > 0) & (y < SIZE_PX - 1))
        x, y = x[seen], y[seen]
        values = {name: variable.empty(len(x)) for name, variable in schema.items()}
        values["ra"], values["dec"] = place.wcs.all_pix2world(x, y, 0)
        values |= {"x": x, "y": y, "mosaic": np.full(len(x), place.mosaic, dtype=object), "is_primary": np.ones(len(x), bool)}
        values["source_id"] = (np.int64(number) << PIXEL_BITS) + seen
        values["flux_radius"] = rng.lognormal(0, 0.8, len(x)).astype("f4")
        values["flags"] = rng.choice([0, 0, 0, 4, 8], len(x)).astype("i4")
        for tile, rows in enumerate(np.array_split(rng.permutation(len(x)), 4)):
            paths.append(folder / f"{place.mosaic}_{tile}.parquet")
            table = dataset_to_arrow(schema.dataset({name: column[rows] for name, column in values.items()}))
            pq.write_table(table, paths[-1])
    return paths, footprints, schema


def files_of(folder):
    """Contents of the files of a catalog but the record of what they were made from."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "provenance.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
