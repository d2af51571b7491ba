"""Run a Python module with the native module that ``make sanitize`` builds.

::

    python -m tests.shred.sanitized MODULE [ARGUMENT]…
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

FOLDER = "WATS_EXTRACT_SANITIZED"
"""The environment variable with the folder of that native module."""


def main() -> None:
    """Load the native module from that folder, then run the module named by the first argument."""
    import wats_extract.shred.wsjf as package

    folder = Path(os.environ[FOLDER])
    package.__path__.insert(0, str(folder))
    from wats_extract.shred.wsjf import _steps

    if not _steps.__file__ or Path(_steps.__file__).parent != folder:
        raise SystemExit(f"loaded {_steps.__file__} instead of the module in {folder}")
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
