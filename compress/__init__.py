"""compress: a trained vision network in, a smaller and really faster one out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from .api import Pruned, Scored, compare, prune, score, select
    from .pruning import Budget, slice_model
    from .tracing import Groups, groups_of

PARTS = {
    "api": ("Pruned", "Scored", "compare", "prune", "score", "select"),
    "pruning": ("Budget", "slice_model"),
    "tracing": ("Groups", "groups_of"),
}
"""Room -> what of it is the library's face."""

__version__ = "0.1.0"


def load(run: str | Path, *, network: nn.Module | None = None) -> nn.Module:
    """The pruned network of a run folder (or of a stem, .json or .safetensors file), in evaluation mode on the CPU.

    Its card (classes, preprocessing, widths) is the attribute `card`. `network` is a fresh one of your own class, where
    the pruned network is of no family that compress knows. UserError when files are missing or broken.

    Example::

        model = compress.load("runs/demo")
        logits = model(images)  # float32 [B, C, H, W] -> [B, classes]
    """
    from .plan import path_of
    from .spaces import load_model, own_surroundings

    path = path_of("run", run, "run folder or a file in it")
    with own_surroundings():
        model, _, card = load_model(path, network=network)
    model.card = card  # type: ignore[assignment]
    return model


def __getattr__(name: str) -> Any:
    """What is asked for is imported then: `import compress` alone costs nothing."""
    for room, names in PARTS.items():
        if name in names:
            return getattr(import_module(f".{room}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Budget",
    "Groups",
    "Pruned",
    "Scored",
    "__version__",
    "compare",
    "groups_of",
    "load",
    "prune",
    "score",
    "select",
    "slice_model",
]
