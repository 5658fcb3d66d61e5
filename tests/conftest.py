"""What all tests share: one hypothesis profile without chance, and a data cache for the real data."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Two threads on each of two busy cores are four times slower than one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
