"""Reading changes nothing: no command, for no resource, asks for what changes what a server holds.

``unit_changes`` with ``acknowledge: true`` is the one exception, which has to be asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import wats_extract as wx
from tests.conftest import TOKEN
from tests.every_resource import pipeline
from wats_extract.cli import preview
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes import traps
from wats_extract.resources.catalogue import DOMAINS, RESOURCES
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import takes_time

SOURCE = Path(wx.__file__).parent

CHANGING = (
    "Auth/GetToken",
    "Auth/GetToken/{}",
    "SCIM/v2/Token",
    "Workflow/StartTest",
    "Workflow/EndTest",
    "internal/Production/SetUnitPhase",
    "internal/Production/SetUnitProcess",
    "internal/Production/UnitPhaseBit",
    "internal/Production/GetAndReserveNewSerialNumbers",
    "internal/Software/Log",
    "Production/SerialNumbers/Take",
    "Export/Certificate",
)
"""Routes below ``/api`` that change what a server holds, though asked by GET or looking like queries."""

QUERIES = re.compile(r"App/\w+|internal/Trigger/GetAlarmAndNotificationLogs")
"""What is asked by POST, and is a query all the same."""


def _bare(route: str) -> str:
    return re.sub(r"\{\w*\}", "{}", route).lower()


@pytest.mark.parametrize("name", RESOURCES)
def test_no_declared_route_changes_anything(name: str) -> None:
    resource = RESOURCES[name]

    assert _bare(resource.route) not in map(_bare, CHANGING)
    assert resource.method == "GET" or QUERIES.fullmatch(resource.route)


def test_the_embedded_server_knows_these_traps() -> None:
    assert {path.removeprefix("/api/") for path in traps.PATHS} < set(CHANGING)


def test_only_the_queue_is_ever_acknowledged() -> None:
    users = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if ".acknowledge(" in path.read_text(encoding="utf-8")
    }

    assert users == {"engine/extraction.py"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_command_changes_anything(
    server: Callable[..., tuple[App, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str
) -> None:
    monkeypatch.setenv("WATS_TOKEN", TOKEN)
    app, url = server(Plant(20), faults=Faults(broken=2, broken_kinds=("404", "garbage")))
    resources = DOMAINS[domain]
    file = pipeline(tmp_path, url, [resource.name for resource in resources])

    wx.plan(file)
    for _ in range(2):
        assert wx.run(file).status in ("succeeded", "failures")
    assert all(_asked(app, resource) for resource in resources)
    wx.retry(file)
    if any(map(takes_time, resources)):
        wx.backfill(file, since="2025-01-01", until="2026-06-01")
    if any(each.reader.lists_versions for each in resources):
        wx.verify(file, repair=True)
    for resource in resources:
        shown = CliRunner().invoke(preview.command, [str(file), resource.name, "-n", "3"])
        assert (shown.exit_code, shown.exception) == (0, None), shown.output

    assert app.state_changes == []


def _asked(app: App, resource: Resource) -> bool:
    """Whether the server has answered the resource's own route."""
    route = re.escape(f"/api/{_bare(resource.route)}").replace(r"\{\}", "[^/]+")
    return any(
        each.status == 200 and each.method == resource.method and re.fullmatch(route, each.path.lower())
        for each in app.requests
    )
