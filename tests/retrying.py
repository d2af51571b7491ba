"""Retries without the usual wait between attempts."""

from __future__ import annotations

import random

from wats_extract.http import client
from wats_extract.http.retry import RetryPolicy

IMPATIENT = RetryPolicy(first_wait=0.001, longest_wait=0.01, random=random.Random(1))
"""As many attempts as usual, with hardly any wait between them."""


def retry_at_once() -> None:
    """Make ``IMPATIENT`` the default of all clients of this process, for programs that tests start."""
    client.RetryPolicy = lambda: IMPATIENT  # type: ignore[assignment,misc]
