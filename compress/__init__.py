"""compress: a trained vision network in, a smaller and really faster one out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__version__ = "0.1.0"


def load(run: str | Path, *, network: nn.Module | None = None) -> nn.Module:
    """The pruned network of a run folder (or of a stem, .json or .safetensors file), in evaluation mode on the CPU.

    Its card (classes, preprocessing, widths) is the attribute `card`. `network` is a fresh one of your own class, where
    the pruned network is of no family that compress knows. UserError when files are missing or broken.

    Example::

        model = compress.load("runs/demo")
        logits = model(images)  # float32 [B, C, H, W] -> [B, classes]
    """
    from .spaces import load_model

    model, _, card = load_model(run, network=network)
    model.card = card  # type: ignore[assignment]
    return model


__all__ = ["__version__", "load"]
