from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.files import CATALOGUE, NOW, SERVER

from wats_extract.pipeline import loading
from wats_extract.pipeline.model import Pipeline


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str | bytes, **environ: str) -> Pipeline:
        """Load a file with these variables; ``WATS_URL`` is set unless they set it to an empty text."""
        path = tmp_path / "reports.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        environ = {"WATS_URL": SERVER} | environ
        return loading.load(path, catalogue=CATALOGUE, environ=environ, now=NOW)

    return load
