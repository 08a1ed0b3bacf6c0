"""One thread everywhere: two threads on busy cores make small convolutions many times slower."""

from __future__ import annotations

import os

import pytest

# For the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    torch.set_num_threads(1)
