"""Drawn light against GalSim's own convolution and drawing of the same scene."""

from dataclasses import replace

import galsim
import numpy as np
import pytest

from surveycnn.simulation.conditions import draw_exposures
from surveycnn.simulation.field import star
from surveycnn.simulation.galaxies import Structure, draw_disk, smooth_disk
from surveycnn.simulation.population import draw_galaxy
from surveycnn.simulation.render import Component, Layers, draw_light, psf_of, sersic

GRI = ("g", "r", "i")
FLUX = np.array([100.0, 300.0, 500.0])


@pytest.fixture(scope="module")
def exposures():
    first, second, third = draw_exposures(np.random.default_rng(1), "lsst", GRI)
    first = replace(first, fwhm=0.55, e1=0.12, e2=-0.08, shift_x=0.3, shift_y=-0.1)
    return first, replace(second, fwhm=0.8, e1=-0.05, e2=0.1), replace(third, fwhm=1.3, beta=2.6)


def blobs(n_maps=1, ny=60, nx=60, seed=4):
    """Maps (map, y, x) of a few soft spots, each map of sum 1, dark at the edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:ny, :nx]
    maps = np.zeros((n_maps, ny, nx))
    for k in range(4 * n_maps):
        row, column = rng.uniform(0.3, 0.7, 2) * (ny, nx)
        maps[k % n_maps] += np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / rng.uniform(1.0, 4.0) ** 2)
    return (maps / maps.sum(axis=(1, 2), keepdims=True)).astype(np.float32)


def edge_on(y=0.0, x=0.0, inclination=82.0):
    rng = np.random.default_rng(3)
    disk: Structure = replace(draw_disk(rng, draw_galaxy(rng, 19.0, is_red=False)), inclination=inclination, scale_length=0.5)
    return smooth_disk(disk).shift(x, y)


def by_galsim(light, exposures, size, scale=0.2, centre=(0.0, 0.0)):
    """The scene (band, y, x) as GalSim convolves and draws it."""
    precise = galsim.GSParams(maximum_fft_size=8192, folding_threshold=1e-3, maxk_threshold=2e-4)
    images = []
    for index, exposure in enumerate(exposures):
        profiles = []
        for part in light:
            if isinstance(part, Component):
                profiles.append(part.profile.withFlux(float(part.flux[index])))
                continue
            total = galsim.Image(np.tensordot(part.flux[:, index], part.maps, axes=1), scale=part.scale)
            grid = galsim.InterpolatedImage(total, x_interpolant="linear", _force_maxk=np.pi / part.scale)
            profiles.append(grid.shift(part.x, part.y))
        # A trace of something soft makes GalSim convolve by FFT, whatever the others are.
        parts = [galsim.Add(profiles), psf_of(exposure), galsim.Gaussian(sigma=1e-3)]
        drawn = galsim.Convolve(parts, gsparams=precise).drawImage(nx=size, ny=size, scale=scale, offset=centre[::-1])
        images.append(drawn.array)
    return np.array(images)


SCENES = {
    **{f"sersic {n}": [Component(sersic(n, 0.6, 0.6, 0.5, 0.3, -0.2), FLUX)] for n in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)},
    "flat sersic": [Component(sersic(1.0, 1.2, 0.05, 2.0), FLUX)],
    "exponential": [Component(edge_on(inclination=40.0), FLUX)],
    "edge on": [Component(edge_on(0.5, -0.4), FLUX)],
    "star": [star(FLUX, 0.33, -1.21)],
    "no round profile": [
        Component((galsim.DeltaFunction(flux=0.4) + galsim.Gaussian(sigma=0.3, flux=0.6)).shift(0.2, 0.1), FLUX)
    ],
    "layers": [Layers(blobs(3), FLUX * np.array([[1.0], [0.3], [0.5]]), 0.1, 1.1, -0.7)],
    "coarse cells": [Layers(blobs(1, 31, 24), FLUX[None], 0.27)],
    "fine cells": [Layers(blobs(2, 61, 60), np.outer([1.0, 2.0], FLUX), 0.04, 0.5, 0.2)],
}
SCENES["everything"] = [part for parts in SCENES.values() for part in parts]


@pytest.mark.parametrize("name", SCENES)
def test_draw_light__agrees_with_galsim(exposures, name):
    image = draw_light(SCENES[name], exposures, size=96)
    expected = by_galsim(SCENES[name], exposures, 96)
    assert image.dtype == np.float32 and image.shape == (3, 96, 96)
    peak = expected.max(axis=(1, 2))
    assert (np.abs(image - expected).max(axis=(1, 2)) / peak).max() < 0.01
    assert image.sum(axis=(1, 2)) == pytest.approx(expected.sum(axis=(1, 2)), rel=0.005)


@pytest.mark.parametrize("name", ["sersic 1.0", "edge on", "star", "layers", "fine cells"])
def test_draw_light__holds_the_flux(exposures, name):
    image = draw_light(SCENES[name], exposures, size=96)
    flux = sum(part.flux if isinstance(part, Component) else part.flux.sum(axis=0) for part in SCENES[name])
    assert image.sum(axis=(1, 2)) == pytest.approx(flux, rel=0.01)


@pytest.mark.parametrize(("size", "scale", "centre"), [(64, 0.26, (2.3, -0.6)), (33, 0.2, (0.0, 1.5)), (200, 0.2, (-20.0, 11.2))])
def test_draw_light__agrees_with_galsim_for_other_stamps(exposures, size, scale, centre):
    light = [*SCENES["sersic 4.0"], *SCENES["layers"], *SCENES["star"]]
    image = draw_light(light, exposures[:2], size=size, scale=scale, centre=centre)
    expected = by_galsim(light, exposures[:2], size, scale, centre)
    assert np.abs(image - expected).max() < 0.01 * expected.max(axis=(1, 2)).min()


def test_draw_light__what_sticks_out_does_not_come_back(exposures):
    """Light beyond the edge neither returns on the other side nor changes what is on the stamp."""
    light = [
        star(FLUX, 6.2, 0.0),
        Component(sersic(4.0, 2.0, 0.7, 1.0, -6.0, 5.0), FLUX),
        Layers(blobs(), FLUX[None], 0.2, 0, 7.0),
    ]
    image, expected = draw_light(light, exposures), by_galsim(light, exposures, 64)
    assert np.abs(image - expected).max() < 0.002 * expected.max()


def test_draw_light__dark_layers_are_left_out(exposures):
    maps = np.concatenate([blobs(1), np.zeros((1, 60, 60), np.float32)])
    fluxes = np.array([FLUX, np.full(3, np.nan)])
    expected = draw_light([Layers(maps[:1], fluxes[:1], 0.1)], exposures)
    assert np.array_equal(draw_light([Layers(maps, fluxes, 0.1)], exposures), expected)
    assert not draw_light([Layers(maps[1:], fluxes[1:], 0.1)], exposures).any()


def test_draw_light__a_band_does_not_depend_on_the_others(exposures):
    light = [*SCENES["sersic 3.0"], *SCENES["layers"]]
    together = draw_light(light, exposures)[1]
    in_band = [replace(part, flux=part.flux[..., 1:2]) for part in light]
    alone = draw_light(in_band, exposures[1:2])[0]
    assert np.abs(together - alone).max() < 0.002 * alone.max()
