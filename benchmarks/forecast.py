"""Does a run take what the plan forecasts? `surveycnn plan --time` beside the survey itself, stage by stage.

    python -m benchmarks.forecast survey.yaml [--cluster local] [--set a.b=value]

The sample is run in a process of its own, as the command does, so that the survey loads everything anew. A second
forecast is taken from the tiles when all have run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.environment import environment, table
from surveycnn.config import SurveyConfig, load_config
from surveycnn.run.survey import run_survey

STAGES = ("ingest", "infer", "publish")


def ask(config: str, overrides: list[str]) -> dict[str, Any]:
    """What ``surveycnn plan --time`` forecasts."""
    options = [option for override in overrides for option in ("--set", override)]
    command = [sys.executable, "-m", "surveycnn", "plan", config, "--time", "--json", *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["forecast"]


def measure(config: SurveyConfig) -> dict[str, Any]:
    """The same quantities of the survey when it runs."""
    result = run_survey(config, fresh=True)
    tiles = sum(path.stat().st_size for path in (config.work_path / "tiles").rglob("*.parquet"))
    catalog = sum(path.stat().st_size for path in result.output.rglob("*") if path.is_file() and path.name != "provenance.json")
    seconds, steps = result.performance["seconds"], result.performance["step_seconds"]
    return {
        "sources": result.n_sources,
        "seconds": {stage: seconds[stage] for stage in STAGES},
        "tile_bytes": tiles,
        "catalog_bytes": catalog,
        "load": steps.get("load", 0.0),
    }


def flat(found: dict[str, Any]) -> dict[str, float]:
    """Quantities by name."""
    seconds = {f"{stage} s": found["seconds"][stage] for stage in STAGES}
    sizes = {"tile MB": found["tile_bytes"] / 1e6, "catalog MB": found["catalog_bytes"] / 1e6}
    return {"sources": found["sources"]} | seconds | sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration")
    parser.add_argument("--cluster", default="local", help="as in the configuration")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change of the configuration, a.b=value")
    arguments = parser.parse_args()
    print(environment())
    with tempfile.TemporaryDirectory() as folder:
        places = [f"output={Path(folder) / 'out'}", f"work_dir={Path(folder) / 'work'}"]
        overrides = [*arguments.overrides, *places, f"cluster={arguments.cluster}"]
        before = ask(arguments.config, overrides)
        ran = measure(load_config(arguments.config, overrides))
        after = ask(arguments.config, overrides)
    rows = [
        [name, f"{value:.4g}", f"{flat(ran)[name]:.4g}", f"{flat(ran)[name] / value:.2f}", f"{flat(after)[name]:.4g}"]
        for name, value in flat(before).items()
    ]
    print(f"forecast from {before['origin']}; it took {before['calibration_seconds']:.0f} s")
    print(table(["", "forecast", "run", "run over forecast", "forecast from the finished tiles"], rows))
    start_up = before["seconds"]["start_up"]
    print(f"threads of the run waited {ran['load']:.1f} s for their models in all; start-up was forecast as {start_up:.1f} s")


if __name__ == "__main__":
    main()
