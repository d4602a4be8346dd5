"""Runs all benchmarks on a simulated mosaic, each in a process of its own: `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from surveycnn.run.simulate import TRUTH, SimulateConfig, run_simulate

HERE = Path(__file__).resolve().parent
SIZE_PX = 2000
HYRAX = HERE.parent / "runs" / "hyrax"
"""Environment of its own, which `python -m benchmarks.hyrax --hyrax-env runs/hyrax` makes; without it, that one is left out."""


def main() -> int:
    """Exit code of the first benchmark that fails, or 0."""
    simulated = run_simulate(SimulateConfig(output=str(HERE.parent / "runs" / "bench"), ny=SIZE_PX, nx=SIZE_PX))
    survey, folder = str(simulated.survey_yaml), simulated.folder
    for module, *arguments in (
        ["tiling_invariance", survey, "--core", "512", "1024"],
        ["catalog_invariance", survey, "--core", "512", "1024", "2048", "-o", str(folder / "cores")],
        ["photometry_truth", survey, str(folder / TRUTH)],
        ["memory", survey, "--sizes", "2048", "4096", "--core", "512", "--halo", "128", "--set", "models=lens"],
        ["slowdown", survey, "--size", "4096", "--engines", "openvino", "predict", "--repeat", "1"],
        ["slowdown", survey, "--size", "2048", "--models", "lens", "morphology", "merger", "photoz", "--repeat", "1"],
        ["scripts", survey, "--size", "4096", "--naive", "300", "--repeat", "1"],
        *([["hyrax", survey, "--hyrax-env", str(HYRAX), "--sizes", "1000"]] if (HYRAX / "bin" / "python").exists() else []),
        ["ingest_speed", survey, "--size", "4096"],
        ["area", survey, "--sizes", "1024", "2048", "4096", "--set", "models=lens"],
        ["workers", survey, "--size", "4096", "--shapes", "1x1", "1x2", "2x1", "--set", "models=lens"],
        ["forecast", survey, "--set", "models=lens"],
        ["empty_tiles", "--tiles", "100000"],
        ["publishing", "--rows", "100000", "1000000"],
        ["catalog_queries", "--rows", "1000000"],
    ):
        print(f"\n== {module} {' '.join(arguments)}", flush=True)
        code = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], cwd=HERE.parent).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
