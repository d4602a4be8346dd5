"""Where the time of a survey goes: seconds of each step in one process, beside the bare forward passes on the same stamps.

    python -m benchmarks.end_to_end survey.yaml

Start-up (imports, loading the models) is measured apart. All figures come from one run on one machine: compare the ratios.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from surveycnn.config import SurveyConfig, load_config
from surveycnn.run.publish import library_versions, publish_survey
from surveycnn.run.session import infer_mosaic, ingest_mosaic, open_session

STEPS = ("read", "detect", "measure", "stamps", "predict")


def run(config: SurveyConfig) -> tuple[dict[str, float], int]:
    """Seconds by step of a survey in this process, and its number of sources."""
    with open_session(config, fresh=True) as session:
        clock = [time.perf_counter()]

        def lap() -> float:
            clock.append(time.perf_counter())
            return clock[-1] - clock[-2]

        models = session.tile_function(session.plan.mosaics[0]).tile_models()
        for model in models:
            model.predictor.predict(np.zeros((1, 64, 64, len(model.bands)), np.float32))
        seconds = {"load models": lap()}
        for mosaic in session.plan.mosaics:
            ingest_mosaic(session, mosaic)
        seconds["ingest"] = lap()
        for mosaic in session.plan.mosaics:
            infer_mosaic(session, mosaic)
        seconds["infer"] = lap()
        result = publish_survey(session)
        seconds["publish"] = lap()
        steps = {step: result.status.seconds[step] for step in STEPS}
        seconds |= steps | {"bare forward": bare_forward(models, result.n_sources)}
    return seconds, result.n_sources


def bare_forward(models: list, n_sources: int) -> float:
    """Seconds of all models on `n_sources` stamps that lie in memory."""
    rng = np.random.default_rng(1)
    total = 0.0
    for model in models:
        size = model.predictor.card.stamp_px
        stamps = rng.normal(0, 10, (n_sources, size, size, len(model.bands))).astype(np.float32)
        started = time.perf_counter()
        model.predictor.predict_raw(stamps)
        total += time.perf_counter() - started
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(", ".join(f"{name} {version}" for name, version in library_versions().items()))
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(arguments.config, [f"output={Path(folder) / 'run'}", "cluster=serial"])
        seconds, n_sources = run(config)
    print(f"{n_sources} sources")
    for step, value in seconds.items():
        print(f"{step:>14} {value:8.2f} s")
    work = seconds["ingest"] + seconds["infer"] + seconds["publish"]
    print(f"end to end without start-up {work:.2f} s: {n_sources / work:.0f} sources/s")
    print(f"infer over the bare forward passes: {seconds['infer'] / seconds['bare forward']:.2f}")


if __name__ == "__main__":
    main()
