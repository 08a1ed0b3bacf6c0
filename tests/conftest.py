"""One thread, random order, seeded generators.

Two threads on busy cores make small convolutions many times slower. pytest-randomly shuffles modules and the tests in
them and seeds Python and NumPy before each test; here torch is seeded too, so that a red test is repeated by
`pytest PATH --randomly-seed=N`, N standing on the first line. A test that asserts what only some random
weights have seeds itself.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings
from kept_registry import keep_registry
from longest_first import group, place
from tool_runs import baseline, finished, prune, refused, same_network, same_run, tiny, tool, tuned

# Fixtures of every folder.
__all__ = ["baseline", "finished", "prune", "refused", "same_network", "same_run", "tiny", "tool", "tuned"]

# Exports make millions of objects that live on: to look for garbage after every 700 takes a tenth of their time.
gc.set_threshold(100_000, 20, 20)
imported = 0
"""Number of modules when the collector was last told to leave alone what is there."""

# No generated example fails because the machine was busy.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")
# For the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"


def seed_of(config: pytest.Config) -> int:
    """What pytest-randomly shuffles by; 0 where it is switched off."""
    seed = config.getoption("randomly_seed", 0)
    return seed if isinstance(seed, int) else 0


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say the seed: `-q` leaves out the header that has it."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not reporter.showheader and session.config.pluginmanager.hasplugin("randomly"):
        reporter.write_line(f"Using --randomly-seed={seed_of(session.config)}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The same state for every test: what a shared fixture draws does not depend on which test asks for it first."""
    import torch

    torch.manual_seed(seed_of(item.config))
    keep_registry()
    leave_imports_alone()


def leave_imports_alone() -> None:
    """Whole collections, before each measurement and by each of MMDetection's data sets, skip what imports brought."""
    global imported
    if len(sys.modules) > imported + 200:
        gc.collect()
        gc.freeze()
        imported = len(sys.modules)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before xdist reads the marks, and after the order is made random
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """With `-n N --dist loadgroup` the tests of a folder share a process, and so what they train and export once."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(group(item)))
    yield
    if hasattr(config, "workerinput"):
        items.sort(key=place)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """The record of images that were looked at stays out of the user's folders."""
    os.environ["COMPRESS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    torch.set_num_threads(1)
