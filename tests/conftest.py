"""What all tests share: no telemetry, no Prefect server of the user, and a small simulated survey on disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

# Before any of these libraries is imported.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

# Prefect keeps its database and results where the tests end, not in the user's home, and asks no server of the user's.
_PREFECT_HOME = tempfile.TemporaryDirectory(prefix="surveycnn-tests-", ignore_cleanup_errors=True)
os.environ["PREFECT_HOME"] = _PREFECT_HOME.name
os.environ["PREFECT_LOCAL_STORAGE_PATH"] = f"{_PREFECT_HOME.name}/storage"
os.environ.pop("PREFECT_API_URL", None)

# Before TensorFlow: Prefect's logging closes the handlers that it finds, and that of absl closes the stream of pytest.
import prefect.main  # noqa: E402, F401


@pytest.fixture(scope="session", autouse=True)
def _networks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Exported networks are kept for the session, for all its processes."""
    os.environ["SURVEYCNN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a small mosaic in g r i z, some hundred Gaussian sources on a sloping sky, and its survey.yaml."""
    from small_sky import write_small_sky

    return write_small_sky(tmp_path_factory.mktemp("sky"), ny=448, nx=512, rng=np.random.default_rng(7))


@pytest.fixture(scope="session")
def small_run(sky: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a survey with all models on the small sky, run in this process in tiles of 256 px."""
    from surveycnn.config import load_config
    from surveycnn.run.survey import run_survey

    output = tmp_path_factory.mktemp("small") / "run"
    assert run_survey(load_config(sky / "survey.yaml", [f"output={output}"])).is_complete
    return output
