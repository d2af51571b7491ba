from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.files import CATALOGUE, NOW

from wats_extract.pipeline import loading
from wats_extract.pipeline.model import Pipeline


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str | bytes, **environ: str) -> Pipeline:
        path = tmp_path / "reports.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return loading.load(path, catalogue=CATALOGUE, environ=environ, now=NOW)

    return load
