"""The global random generators, and what is to leave them as it finds them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch


def state() -> tuple[Any, ...]:
    """Of torch, NumPy and Python, as values that can be compared."""
    algorithm, keys, *rest = np.random.get_state()  # noqa: NPY002 (the global generator is what is asked for)
    return torch.random.get_rng_state().tolist(), (algorithm, keys.tolist(), *rest), random.getstate()


@contextmanager
def untouched(what: str) -> Iterator[None]:
    """Fails where its body draws from a global generator or sets one; `what` names it."""
    before = state()
    yield
    changed = [name for name, old, new in zip(("torch", "numpy", "random"), before, state(), strict=True) if old != new]
    assert changed == [], f"{what} touches the global generator of {changed}"


def forget(*modules: ModuleType) -> None:
    """Empty what functions of `modules` have kept."""
    caches: list[Callable[[], None]] = [
        value.cache_clear for module in modules for value in vars(module).values() if hasattr(value, "cache_clear")
    ]
    assert caches
    for clear in caches:
        clear()
