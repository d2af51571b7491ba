"""The README is short, and its code runs as written."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wats_extract

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = "demo?reports=80"


def code(heading: str, language: str) -> str:
    """Return the first code block in this language under a heading."""
    _, _, section = README.partition(f"\n## {heading}\n")
    found = re.search(rf"^```{language}\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    assert found, f"no {language} code under {heading!r}"
    return found[1]


COMMANDS = [shlex.split(line, comments=True) for line in code("Command line", "sh").splitlines()]


@pytest.fixture
def environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "WATS" not in name}
    source = str(Path(wats_extract.__file__).parents[1])
    return kept | {"WATS_URL": SMALL, "PYTHONPATH": source, "PYTHONUTF8": "1", "PYTHONWARNINGS": "error"}


def python(arguments: list[str], cwd: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environ, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_commands_run_as_written(tmp_path: Path, environ: dict[str, str]) -> None:
    said = {}
    for program, *arguments in COMMANDS:
        assert program == "wats-extract"
        said[shlex.join(arguments)] = python(["-m", "wats_extract.cli", *arguments], tmp_path, environ)

    assert (tmp_path / "data" / "wats.duckdb").is_file()
    assert "steps" in said["run pipelines/reports.yaml --demo"]
    assert '"status": "succeeded"' in said["run pipelines/reports.yaml --demo --json --quiet"]


def test_no_command_reads_the_demo_unless_it_is_asked_for(tmp_path: Path, environ: dict[str, str]) -> None:
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    del environ["WATS_URL"]
    for _, *arguments in COMMANDS:
        if "--demo" in arguments:
            words = [word for word in arguments if word != "--demo"]
            command = [sys.executable, "-m", "wats_extract.cli", *words]
            assert subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True).returncode == 2
    assert not (tmp_path / "data").exists()


def test_code_blocks_are_short() -> None:
    assert len(COMMANDS) <= 10
    assert len([line for line in code("Python", "python").splitlines() if line]) <= 12


def test_python_code_runs_as_written(tmp_path: Path, environ: dict[str, str]) -> None:
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")

    said = python(["-c", code("Python", "python")], tmp_path, environ)

    assert "Output power" in said  # the most frequent failing step of the demo data
    assert "succeeded 80 new reports" in said


def test_first_look_without_make(tmp_path: Path, environ: dict[str, str]) -> None:
    """Run the commands of `make demo`, which the README also gives for machines without make."""
    lines = [shlex.split(line) for line in code("First look", "sh").splitlines()]
    assert ["make", "demo"] in [line[:2] for line in lines]
    assert ["make", "test"] in [line[:2] for line in lines]
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")

    run = ["wats-extract", "run", "pipelines/reports.yaml", "--demo"]
    assert f"\n{shlex.join(run)}\n" in README
    python(["-m", "wats_extract.cli", *run[1:]], tmp_path, environ)
    said = python([str(ROOT / "docs" / "examples" / "look.py")], tmp_path, environ)

    assert "first-pass yield, %" in said
    assert "failed reports" in said


@pytest.mark.parametrize("name", ["pipelines/reports.yaml", "docs/examples/look.py", "constraints.txt"])
def test_first_look_names_files_that_exist_also_for_windows(name: str) -> None:
    assert (ROOT / name).is_file()
    assert name in README
    assert name.replace("/", "\\") in code("First look", "bat")
