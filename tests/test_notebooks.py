"""Every notebook runs from start to end and is stored without outputs."""

import json
from pathlib import Path

import nbclient
import nbformat
import pytest

import wats_extract

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
PLOT = "image/svg+xml"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_stored_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]

    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(Path(wats_extract.__file__).parents[1]))
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    work = tmp_path / "work"
    work.mkdir()

    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(work)}}
    ).execute()

    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    plots = [data[PLOT] for data in shown if PLOT in data]
    assert len(plots) == 1
    assert "MODULE-320, Functional test" in plots[0]
    assert list(work.iterdir()) == []
