"""Runs all benchmarks on a simulated mosaic, each in a process of its own: `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from surveycnn.run.simulate import TRUTH, SimulateConfig, run_simulate

HERE = Path(__file__).resolve().parent
SIZE_PX = 2000


def main() -> int:
    """Exit code of the first benchmark that fails, or 0."""
    simulated = run_simulate(SimulateConfig(output=str(HERE.parent / "runs" / "bench"), ny=SIZE_PX, nx=SIZE_PX))
    survey, folder = str(simulated.survey_yaml), simulated.folder
    for module, *arguments in (
        ["tiling_invariance", survey, "--core", "512", "1024"],
        ["catalog_invariance", survey, "--core", "512", "1024", "2048", "-o", str(folder / "cores")],
        ["photometry_truth", survey, str(folder / TRUTH)],
        ["memory", survey, "--sizes", "2048", "4096", "--core", "512", "--halo", "128", "--set", "models=lens"],
        ["end_to_end", survey],
    ):
        print(f"\n== {module} {' '.join(arguments)}", flush=True)
        code = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], cwd=HERE.parent).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
