"""Model packages that load and run in no time, for tests of what is done with models; they have learnt nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.inference.scaling import scale_stamps
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Calibration, Card, Domain, Outputs, Prior, Scaling, Training, write_card
from surveycnn.models.lens import build_lens
from surveycnn.models.merger import build_merger
from surveycnn.models.package import Golden, find_card, save_package

BANDS = ["g", "r"]


def write_tiny_models(folder: Path) -> tuple[Path, Path]:
    """Packages of a lens finder and a merger classifier for g and r, with stamps of other sizes and pixel scales."""
    import_keras().utils.set_random_seed(3)
    lens = _card("tiny-lens", "lens", 16, pixel_scale=0.2, domain=Domain(band="r", magnitude=(19.0, 21.5)))
    merger = _card("tiny-merger", "merger", 13, pixel_scale=0.3, outputs=Outputs(time_mean=100.0, time_scale=50.0))
    for card, build in ((lens, build_lens), (merger, build_merger)):
        stamps = np.random.default_rng(0).normal(0, 20, (3, card.stamp_px, card.stamp_px, 2)).astype(np.float32)
        golden = Golden(stamps, scale_stamps(stamps, card.scaling, card.bands))
        save_package(folder / card.name, build(card.stamp_px, 2, widths=(4, 8)), card, golden)
    return folder / lens.name, folder / merger.name


def _card(name: str, task: Any, stamp_px: int, **more: Any) -> Card:
    return Card(
        name=name,
        version="1",
        task=task,
        bands=BANDS,
        stamp_px=stamp_px,
        scaling=Scaling(softening={"g": 1.0, "r": 2.0}),
        prior=Prior(training=0.5, survey=1e-3),
        calibration=Calibration(temperature=2.0, bias=0.1),
        training=Training(simulation="noise", seed=3, n=0, command="none"),
        licence="BSD-3-Clause",
        keras="",
        **more,
    )


def change_prior(package: Path, survey: float) -> None:
    """Make another model of a package: one whose probabilities are for another prior."""
    card = find_card(package)
    assert card.prior is not None
    write_card(package, card.model_copy(update={"prior": card.prior.model_copy(update={"survey": survey})}))
