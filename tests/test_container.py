"""Commands work in a container: a read-only root, no temporary folder, a user without a home or a name."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.command_line import MODULE, SECRET
from tests.conftest import DESTINATIONS
from tests.forked import INTERPRETER, ROOT
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

READ_ONLY = """
mount --make-rprivate /
for each in /tmp /var/tmp /usr/tmp /dev/shm /run; do
    if [ -d $each ] && [ ! -L $each ]; then mount --bind $each $each && mount -o remount,ro,bind $each; fi
done
mount --bind "$WRITABLE" "$WRITABLE"
mount -o remount,rw,bind "$WRITABLE"
mount -o remount,ro,bind /
cd /
exec "$@"
"""
"""A shell script that makes everything but one folder read-only, in a mount namespace of its own."""

UNNAMED = ("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups")
"""Runs a command as a user that is not in /etc/passwd."""

COMMANDS = ("check", "plan", "run", "verify --deep --repair", "retry", "status")
"""Commands that open a server or a destination, each in its own way."""

CONNECT = """
import wats_extract as wx
with wx.connect(url={url!r}, requests_per_minute=5000) as wats:
    assert wats.stream("report_headers").read_all().num_rows == 12
with wx.demo(reports=7) as wats:
    assert wats.stream("report_headers").read_all().num_rows == 7
"""


@cache
def can_mount() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))):
        return False
    return (
        subprocess.run(["unshare", "-m", "mount", "--make-rprivate", "/"], capture_output=True).returncode
        == 0
    )


def in_container(
    writable: Path, *command: str, user: tuple[str, ...] = (), token: str = SECRET
) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "WRITABLE": str(writable), "WATS_TOKEN": token, **INTERPRETER}
    shell = ["unshare", "-m", "bash", "-e", "-c", READ_ONLY, "bash", *user, *command]
    return subprocess.run(shell, env=env, capture_output=True, text=True, encoding="utf-8", timeout=60)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can write; pytest's own temporary folders are closed to other users."""
    if not can_mount():
        pytest.skip("needs Linux, root and unshare")
    with TemporaryDirectory() as found:
        Path(found).chmod(0o777)
        yield Path(found)


def readable(user: tuple[str, ...]) -> bool:
    python = subprocess.run([*user, sys.executable, "-c", "import wats_extract"], capture_output=True)
    return python.returncode == 0


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_every_command_works_with_one_writable_folder(folder: Path, kind: str) -> None:
    user = UNNAMED if readable(UNNAMED) else ()
    app = App(Plant(12), token=SECRET)
    with serve(app) as served:
        # With a limit, because a loopback server has none by default and would need no shared budget.
        (folder / "p.yaml").write_text(
            "version: 1\nname: p\n"
            f'source: {{url: "{served.url}", token: "${{WATS_TOKEN}}", requests_per_minute: 5000}}\n'
            f"destination: {{type: {kind}, path: {'wats.duckdb' if kind == 'duckdb' else '.'}}}\n"
            "resources: [{name: report_headers}, {name: reports}, {name: processes}]\n",
            encoding="utf-8",
        )
        for command in COMMANDS:
            words = [*command.split(), str(folder / "p.yaml")]
            done = in_container(folder, sys.executable, *MODULE, *words, user=user)
            assert (done.returncode, command) == (0, command), done.stderr
            if command == "run":
                assert (
                    done.stderr.count("other processes with the same token are not counted: Read-only") == 1
                )
        done = in_container(folder, sys.executable, "-c", CONNECT.format(url=served.url), user=user)
        assert done.returncode == 0, done.stderr

    left = {path.name for path in folder.iterdir() if path.name.startswith(".")}
    assert left <= {".wats.duckdb.p.lock"}


# ── the image ──

DOCKERFILE = (ROOT / "examples" / "container" / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_copies_files_that_exist_and_has_all_that_the_build_needs(tmp_path: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    sources = [name for line in copied for name in line.split()[:-1]]

    assert sources
    for name in sources:
        path = ROOT / name
        shutil.copytree(path, tmp_path / name) if path.is_dir() else shutil.copy(path, tmp_path)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_image_runs_as_a_user_without_privileges() -> None:
    *_, image = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)

    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", image, re.MULTILINE)
    assert 'ENTRYPOINT ["wats-extract"]' in image


def test_the_page_and_the_dockerfile_show_the_same_commands() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    written = re.findall(r"^#   (.*)$", DOCKERFILE, re.MULTILINE)

    assert shlex.split(shown.replace("\\\n", "")) == shlex.split("\n".join(written).replace("\\\n", ""))
