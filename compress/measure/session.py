"""A network that a backend has opened, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..plan import UserError

ONNX_DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(uint8)": torch.uint8}
"""ONNX Runtime's input type -> PyTorch's."""

Told = tuple[tuple[str, ...], Mapping[str, Any]]
"""Classes and preprocessing."""


@dataclass(frozen=True)
class Session:
    """A network with one input and one output.

    Args:
        source: what was opened: a file, or the class of a module.
        backend: the name of what computes.
        bind: images [batch, *shape], on the CPU -> a call that computes their output and returns when it is ready. It
            is called in `torch.inference_mode()`.
        device: where: `cpu` or `cuda`.
        shape: of one image, as the network takes it; empty where a module was opened.
        dtype: of its input.
        batches: images of one call, smallest and largest; None: no limit.
        tells: gives classes and preprocessing of the network; None: nothing tells them.

    Example::

        session = open_model("model.onnx")
        logits = session(images)
    """

    source: Path | str
    backend: str
    bind: Callable[[Tensor], Callable[[], Any]]
    device: str = "cpu"
    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    batches: tuple[int, int] | None = None
    tells: Callable[[], Told] | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Output [batch, ...], float32 on the CPU, for any number of images: filled up and divided as needed.

        UserError for images that are no bytes where the network takes pixels.
        """
        if self.dtype == torch.uint8 and images.dtype != torch.uint8:
            raise UserError(
                f"{self.source}: takes pixels (uint8), not {images.dtype}; see compress.export.network_input"
            )
        images, count = images.to(self.dtype), len(images)
        low, high = self.batches or (1, count)
        parts = []
        with torch.inference_mode():
            for part in images.split(high):
                missing = max(0, low - len(part))
                filled = torch.cat([part, part.new_zeros(missing, *self.shape)]) if missing else part
                parts.append(torch.as_tensor(self.bind(filled)())[: len(part)].float().cpu())
        return torch.cat(parts)

    def described(self) -> Told:
        """Classes and preprocessing; UserError where nothing tells them."""
        if self.tells is None:
            raise UserError(f"{self.source}: does not tell classes and preprocessing; give an exported file, or a run")
        return self.tells()


def check_one(path: Path, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """UserError unless the network in the file `path` has one of `inputs` and one of `outputs`."""
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; only networks with one of each run here"
        )
