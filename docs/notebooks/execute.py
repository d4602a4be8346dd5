"""Run the notebooks of this folder on a catalog and keep their outputs: ``python docs/notebooks/execute.py runs/demo``.

The site shows the outputs that stand in the files; a test runs the same cells on a small catalog.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 600
"""Of a cell."""


def notebooks() -> list[Path]:
    """The notebooks, in the order of their names."""
    return sorted(HERE.glob("*.ipynb"))


def digest(notebook: nbformat.NotebookNode) -> str:
    """sha256 of the code, which says what the outputs belong to."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def execute(path: Path, catalog: Path) -> nbformat.NotebookNode:
    """A notebook with the outputs that its cells have on a catalog, run in the current folder.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        Where a cell fails.
    """
    os.environ["SURVEYCNN_CATALOG"] = str(catalog)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the time of day
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "surveycnn": {"outputs_of": digest(notebook)},
    }
    return notebook


def smaller(png: str) -> str:
    """A picture (base64) in 256 colours: a third of the bytes, and no difference to be seen."""
    stream = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalog", type=Path, help="output folder of a run, for the outputs of the site that of the demo")
    catalog = parser.parse_args().catalog
    for path in notebooks():
        notebook = execute(path, catalog)
        temporary = path.with_suffix(".tmp")
        nbformat.write(notebook, temporary)
        temporary.replace(path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
