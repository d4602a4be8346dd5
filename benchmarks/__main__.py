"""Runs all benchmarks on a simulated mosaic, each in a process of its own: `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from surveycnn.run.simulate import SimulateConfig, run_simulate

HERE = Path(__file__).resolve().parent
SIZE_PX = 2000


def main() -> int:
    """Exit code of the first benchmark that fails, or 0."""
    simulated = run_simulate(SimulateConfig(output=str(HERE.parent / "runs" / "bench"), ny=SIZE_PX, nx=SIZE_PX))
    survey = str(simulated.survey_yaml)
    for script in (["tiling_invariance.py", survey, "--core", "512", "1024"], ["end_to_end.py", survey]):
        print(f"\n== {' '.join(script)}", flush=True)
        code = subprocess.run([sys.executable, str(HERE / script[0]), *script[1:]]).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
