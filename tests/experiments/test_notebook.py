from __future__ import annotations

import base64
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "experiments" / "notebooks"


@pytest.mark.parametrize(("name", "drawn"), [("first_policy", 2), ("retry_storm", 2)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Jupyter libraries
def test_the_notebook_runs_and_draws(name: str, drawn: int, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    pictures = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == drawn
    for index, picture in enumerate(pictures):
        (tmp_path / f"{index}.png").write_bytes(base64.b64decode(picture))
        assert (tmp_path / f"{index}.png").stat().st_size > 5000


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {"first_policy", "retry_storm"}
