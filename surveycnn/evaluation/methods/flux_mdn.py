"""Our networks for tables of photometry on the fluxes of stamps: what the images have beyond them shows beside it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from surveycnn.evaluation.methods.fluxes import FluxLearner, known_fluxes, measured
from surveycnn.evaluation.methods.method import Log, Rows
from surveycnn.models.backend import import_keras
from surveycnn.models.package_files import MODEL_FILE
from surveycnn.training.data import LabelledStamps

if TYPE_CHECKING:
    from surveycnn.photoz.card import FitSettings
    from surveycnn.photoz.predict import PhotozModel


class FluxMixture(FluxLearner):
    """The mixture density network of `surveycnn photoz fit`, a committee in one network, on measured fluxes and errors.

    `members` and `epochs` are those of surveycnn.photoz.card.FitSettings; None takes its defaults. A stamp without data in any
    band has no PDF: NaN.
    """

    name = "flux_mdn"
    title = "Fluxes alone: mixture network"
    reference = "this package"

    def __init__(self, *, n_train: int = 50_000, members: int | None = None, epochs: int | None = None) -> None:
        super().__init__(n_train=n_train)
        self.members = members if members is None else self.checked("members", members)
        self.epochs = epochs if epochs is None else self.checked("epochs", epochs)
        self._model: tuple[int, PhotozModel] | None = None

    @property
    def n_passes(self) -> int | None:
        """Passes of the committee; None before the fit."""
        return self._number("n_passes")

    def learn(self, stamps: Rows, labels: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """The files of the package, as bytes, and numbers of its card."""
        from surveycnn.photoz.fit import fit_photoz
        from surveycnn.photoz.tables import Photometry

        z, flux, flux_err = known_fluxes(self.name, stamps, labels, log)
        with TemporaryDirectory() as home:
            folder = Path(home) / "package"
            photometry, settings = Photometry(self.bands, flux, flux_err), self._fit_settings(seed)
            card = fit_photoz(photometry, z, folder, settings=settings, log=lambda line: log(f"{self.name}: {line}"))
            files = {f"file/{path.name}": np.frombuffer(path.read_bytes(), np.uint8) for path in sorted(folder.iterdir())}
            n_weights = import_keras().saving.load_model(folder / MODEL_FILE, compile=False).count_params()
        return files | {"n_passes": np.asarray(card.epochs), "n_weights": np.asarray(n_weights)}

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Weights, means and widths (object, 3 x component)."""
        from surveycnn.photoz.tables import Photometry

        flux, flux_err = np.split(measured(stamps), 2, axis=1)
        found = self._loaded(state).predict(Photometry(self.bands, flux, flux_err))
        return np.concatenate([found[name] for name in ("pz_weight", "pz_mean", "pz_sigma")], axis=1).astype(np.float64)

    def _loaded(self, state: dict[str, np.ndarray]) -> PhotozModel:
        """The model, loaded once per state."""
        if self._model is None or self._model[0] != id(state):
            from surveycnn.photoz.predict import load_photoz

            with TemporaryDirectory() as home:
                for name in state:
                    if name.startswith("file/"):
                        (Path(home) / name.removeprefix("file/")).write_bytes(state[name].tobytes())
                self._model = (id(state), load_photoz(home))
        return self._model[1]

    def _fit_settings(self, seed: int) -> FitSettings:
        from surveycnn.photoz.card import FitSettings

        given = {"members": self.members, "epochs": self.epochs}
        return FitSettings.model_validate({"seed": seed} | {name: value for name, value in given.items() if value is not None})
