"""PyTorch compiled by inductor on the CPU, for the shapes alone that are timed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...plan import UserError
from ...plan.backends import BACKENDS
from ..blocks import ONEDNN
from .base import Backend, Network, Times

if TYPE_CHECKING:
    from torch import Tensor

    from ..session import Session


class Inductor(Backend):
    """`torch.compile`; fewer seconds where inductor finds an older result in its cache."""

    name, label, takes, packages = "torch-compile", "torch.compile", "module", ("torch",)
    compiles = True
    blocks = ONEDNN

    def missing(self) -> str | None:
        """A C++ compiler, chosen as inductor chooses it."""
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(compiler) is not None:
            return None
        return (
            f"needs a C++ compiler, and {compiler!r} is not on the PATH; install it, or name another one in the "
            "environment variable CXX"
        )

    def open(self, network: Network, *, threads: int = 1, batch: int = 1, trust: bool = False) -> Session:
        """A module, compiled by the first call; UserError where PyTorch cannot compile it."""
        import torch

        from ...export import inference_copy
        from ..session import Session

        assert not isinstance(network, Path)
        kind = type(network).__name__
        compiled = torch.compile(inference_copy(network), fullgraph=True, dynamic=False)

        def bind(images: Tensor) -> Callable[[], Any]:
            try:
                compiled(images)
            except RuntimeError as error:
                reason = str(error).strip().partition("\n")[0]
                raise UserError(
                    f"backends: {self.name!r} cannot compile {kind} ({reason}); leave it out of measure.backends"
                ) from error
            return partial(compiled, images)

        return Session(kind, self.name, bind)

    def time(self, networks: Mapping[str, Network], images: Tensor, **options: Any) -> Times:
        """As every backend does. What else was compiled in this process is compiled again when it is called."""
        import torch

        torch.compiler.reset()  # PyTorch keeps what it compiled, and takes eight networks of one class at most
        return super().time(networks, images, **options)


BACKENDS.add(Inductor())
