"""One thread everywhere: two threads on busy cores make small convolutions many times slower."""

from __future__ import annotations

import os

import pytest

# For the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `-n N --dist loadgroup` the tests of a folder share a process, and so what they train and export once."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(item.path.parent.name))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """The record of images that were looked at stays out of the user's folders."""
    os.environ["COMPRESS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    torch.set_num_threads(1)
