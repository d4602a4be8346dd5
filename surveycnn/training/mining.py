"""Hard negatives: what a finder in training takes for lenses, or mergers, in simulated mosaics that hold none.

Adding the false positives of a first round to the training set is what most improved the tail of the finders of
HOLISMOKES XI (Canameras et al. 2024, A&A 692, A72, sets N5 to N7).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from surveycnn.training.data import LabelledStamps, Log, read_set, write_set

SHARE = {"lens": 0.05, "merger": 0.25}
"""Of the objects of a mosaic that are kept, those with the highest scores; more for mergers, whose other negatives know no stars
and nothing faint."""
REPEATS = {"lens": 4, "merger": 1}
"""Times that each of them stands in the training set."""
SEED_OFFSET = 4


def mosaic_objects(
    task: str, n_mosaics: int, *, seed: int, conditions: str, folder: Path, n_workers: int, log: Log
) -> LabelledStamps:
    """Objects of simulated mosaics without lenses or mergers, kept under `folder` and read from there the next time."""
    home = folder / f"{task}-mosaics-{conditions}-seed{seed}-n{n_mosaics}"
    if not (home / "set.json").is_file():
        from surveycnn.simulation.candidates import mosaic_parts
        from surveycnn.simulation.stamps import join_parts

        log(f"{task}: simulating {n_mosaics} mosaics without any, conditions {conditions}, seed {seed}")
        found = join_parts(task, list(mosaic_parts(task, n_mosaics, seed=seed, conditions=conditions, n_workers=n_workers)))
        write_set(home, LabelledStamps(task, found.bands, found.stamps, found.labels, found.truth))
    return read_set(home)


def hardest(objects: LabelledStamps, score: Callable[[np.ndarray], np.ndarray], share: float) -> LabelledStamps:
    """The `share` of the objects with the highest scores, hardest first.

    Parameters
    ----------
    score
        From stamps (object, y, x, band) in nJy to (object,) logits.
    """
    chunks = range(0, len(objects), 2048)
    logit = np.concatenate([score(np.asarray(objects.stamps[start : start + 2048])) for start in chunks])
    chosen = np.argsort(-logit, kind="stable")[: max(1, round(share * len(objects)))]
    stamps = np.asarray(objects.stamps[np.sort(chosen)])[np.argsort(np.argsort(chosen))]
    columns = [{name: np.asarray(values)[chosen] for name, values in part.items()} for part in (objects.labels, objects.truth)]
    return LabelledStamps(objects.task, objects.bands, stamps, *columns)
