"""PyTorch, eagerly: modules on the CPU, as they are timed, and run folders' networks, as training evaluates them."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...plan.backends import BACKENDS
from ..blocks import ONEDNN
from .base import LayerBackend, LayerTimes, Network

if TYPE_CHECKING:
    from torch import Tensor

    from ...spaces import Space
    from ..session import Session


class Eager(LayerBackend):
    """Modules are copied anew whenever they are opened, so that their memory lies elsewhere."""

    name, label, takes, packages = "pytorch", "PyTorch", "module", ("torch",)
    blocks = ONEDNN

    def open(self, network: Network, *, threads: int = 1, batch: int = 1, trust: bool = False) -> Session:
        """A module on the CPU, or a run folder (a stem or .safetensors file likewise) on a GPU if there is one.

        The number of threads is the caller's, for the whole process.
        """
        from ...export import inference_copy
        from ..session import Session

        if isinstance(network, Path):
            return self._open_run(network)
        copied = inference_copy(network)
        return Session(type(network).__name__, self.name, lambda images: partial(copied, images))

    def profile(
        self, network: Network, images: Tensor, *, threads: int, space: Space, operators: Collection[str]
    ) -> LayerTimes:
        """The clock is read wherever a layer begins or ends."""
        from ...export import inference_copy
        from ..torch_profiling import Timeline, owners_of_modules

        assert not isinstance(network, Path)
        copied = inference_copy(network)
        return Timeline(copied, images, owners_of_modules(copied, space, operators))

    def _open_run(self, path: Path) -> Session:
        import torch

        from ...engine.layout import layout_of
        from ...spaces import load_model
        from ..session import Session

        module, _, card = load_model(path)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        layout = layout_of(module)  # as training evaluates
        module = module.to(device).to(memory_format=layout)
        return Session(
            path,
            self.name,
            lambda images: partial(module, images.to(device, memory_format=layout)),
            device=device,
            shape=card.input_size,
            tells=lambda: (card.classes, card.preprocessing),
        )


BACKENDS.add(Eager())
