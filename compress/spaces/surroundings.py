"""What a call from the user's own code may find set in PyTorch, and must leave as it was."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch


@contextmanager
def own_surroundings() -> Iterator[None]:
    """PyTorch as it is at the start of a script, whatever surrounds the call; random generators stay as they are.

    Gradients are taken, tensors are no inference tensors, new ones are float32 and on the CPU, and nothing is cast.
    Afterwards the generators of PyTorch (those of GPUs too), NumPy and Python stand where they stood, though training
    seeds them, and OpenCV has the threads that it had.

    Example::

        with own_surroundings():
            torch.manual_seed(0)
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (the global one, which others draw from)
    opencv = sys.modules.get("cv2")  # MMEngine's Runner sets its threads
    threads = None if opencv is None else opencv.getNumThreads()
    # Counted where there are some: PyTorch looks for a driver's library each time that it counts none.
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.random.fork_rng(devices=range(gpus)),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
            _on_cpu(),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        if opencv is not None:
            opencv.setNumThreads(threads)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _on_cpu() -> AbstractContextManager[Any]:
    """New tensors are on the CPU; where they are anyway, no function of PyTorch takes longer for it."""
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


def same_draws(device: torch.device, *, enabled: bool = True) -> AbstractContextManager[None]:
    """Inside, what is drawn on the CPU and on `device` does not count: generators then stand where they stood.

    Example::

        with same_draws(torch.device("cpu")):
            torch.rand(3)
    """
    return torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=enabled)
