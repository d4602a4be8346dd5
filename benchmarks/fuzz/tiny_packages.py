"""Packages of tiny networks, which load in a moment: plain layers, a committee with a first stage, operations, one for tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.inference.scaling import scale_photometry, scale_stamps
from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import FEATURES
from surveycnn.models.card import Calibration, Card, Cascade, Domain, Outputs, PhotometryScaling, Prior, Scaling, Training
from surveycnn.models.committee import committee
from surveycnn.models.package import Golden, add_first_stage, save_package
from surveycnn.photoz.card import FeatureScaling, FitSettings, TableCard
from surveycnn.photoz.package import save_photoz
from surveycnn.photoz.tables import Photometry

BANDS = ["g", "r"]
SIZE = 8


def write_tiny_packages(folder: Path) -> None:
    """Write ``plain``, ``cascade``, ``photoz`` and ``table`` into `folder`."""
    import_keras().utils.set_random_seed(1)
    save_package(folder / "plain", _network(1), _card("plain"), _golden(_card("plain")))
    card = _card("cascade", domain=Domain(band="r", magnitude=(18.0, 24.0), feature_distance=5.0))
    save_package(folder / "cascade", committee([_network(1), _network(1)], np.zeros(8), np.eye(8), 2), card, _golden(card))
    cascade = Cascade(enabled=True, threshold=-3.0, temperature=1.0, bias=0.0, passed=0.1, lost=0.0, command="none")
    add_first_stage(folder / "cascade", _network(1), cascade)
    card = _card("photoz", task="photoz", outputs=Outputs(n_components=2), prior=None, calibration=None)
    card = card.model_copy(update={"photometry": PhotometryScaling(softening=dict.fromkeys(BANDS, 5.0))})
    save_package(folder / "photoz", _with_fluxes(6), card, _golden(card))
    _write_table_package(folder / "table")


def _network(n_outputs: int) -> Any:
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, len(BANDS)), name="stamps")
    x = layers.Conv2D(4, 3, 2, padding="same", use_bias=False)(inputs)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    features = layers.Concatenate(name=FEATURES)([layers.GlobalAveragePooling2D()(x)])
    return keras.Model(inputs, layers.Dense(n_outputs, name="raw")(features))


def _with_fluxes(n_outputs: int) -> Any:
    keras = import_keras()
    layers, ops = keras.layers, keras.ops
    stamps = keras.Input((SIZE, SIZE, len(BANDS)), name="stamps")
    fluxes = keras.Input((2 * len(BANDS),), name="photometry")
    colours = ops.arcsinh(fluxes[:, 1:] - fluxes[:, :-1])
    features = layers.Concatenate()([layers.Flatten()(layers.MaxPooling2D(4)(ops.sinh(stamps))), colours])
    return keras.Model([stamps, fluxes], layers.Dense(n_outputs)(layers.Dropout(0.1)(features)))


def _card(name: str, **changes: Any) -> Card:
    return Card(
        **dict(
            name=name,
            version="1",
            task="lens",
            bands=BANDS,
            pixel_scale=0.2,
            stamp_px=SIZE,
            scaling=Scaling(softening=dict.fromkeys(BANDS, 1.0)),
            prior=Prior(training=0.5, survey=1e-3),
            calibration=Calibration(temperature=2.0, bias=0.1),
            training=Training(simulation="noise", seed=3, n=0, command="none"),
            licence="BSD-3-Clause",
            keras="",
        )
        | changes
    )


def _golden(card: Card) -> Golden:
    rng = np.random.default_rng(0)
    stamps = rng.normal(0, 20, (3, SIZE, SIZE, len(BANDS))).astype(np.float32)
    inputs = scale_stamps(stamps, card.scaling, card.bands)
    if card.photometry is None:
        return Golden(stamps, inputs)
    fluxes = np.stack([rng.normal(100, 20, (3, len(BANDS))), np.full((3, len(BANDS)), 5.0)], axis=1)
    return Golden(stamps, inputs, fluxes, scale_photometry(fluxes[:, 0], fluxes[:, 1], card.photometry, card.bands))


def _write_table_package(folder: Path) -> None:
    rng = np.random.default_rng(0)
    n_features = 4 * len(BANDS) - 1
    shapes = [(n_features, 5), (5, 5), (5, 6)]
    members = [
        [(rng.normal(size=shape).astype(np.float32), np.zeros(shape[1], np.float32)) for shape in shapes] for _ in range(2)
    ]
    card = TableCard(
        name="table",
        bands=BANDS,
        redshift=(0.0, 2.0),
        scaling=FeatureScaling(softening=dict.fromkeys(BANDS, 5.0), mean=[0.0] * n_features, scatter=[1.0] * n_features),
        redshift_scale=0.5,
        n_components=2,
        settings=FitSettings(members=2),
        n_train=1,
        n_valid=1,
        epochs=1,
        surveycnn="1",
        keras="",
    )
    fluxes = rng.normal(100, 20, (16, len(BANDS)))
    save_photoz(folder, members, card, Photometry(tuple(BANDS), fluxes, np.full_like(fluxes, 5.0)))
