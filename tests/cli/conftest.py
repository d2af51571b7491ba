from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.command_line import SECRET, CommandLine, Finished

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant

Desk, Said, desk_in = CommandLine, Finished, CommandLine.inside
Serving = Callable[..., App]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[CommandLine]:
    with CommandLine.inside(tmp_path) as command_line:
        yield command_line


@pytest.fixture
def serving(desk: CommandLine) -> Serving:
    """Start an embedded server in this process; ``WATS_URL`` of the commands points to it."""

    def start(reports: int = 20, **options: Any) -> App:
        app = App(Plant(reports), token=SECRET, **options)
        desk.serve(app)
        return app

    return start
