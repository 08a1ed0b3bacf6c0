"""ONNX Runtime on the CPU, from NumPy array to NumPy array."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...plan import UserError
from ...plan.backends import BACKENDS
from ..blocks import NCHWC
from .base import LayerBackend, LayerTimes, Network

if TYPE_CHECKING:
    from torch import Tensor

    from ...spaces import Space
    from ..session import Session


class OnnxRuntime(LayerBackend):
    """Every file is a session of its own: where its memory lies makes it up to 2 % faster or slower."""

    name, label, takes = "onnxruntime", "ONNX Runtime", "onnx"
    packages = ("onnxruntime", "torch")
    """PyTorch's exporter decides which nodes there are."""
    alias, suffix = "ort", ".onnx"
    blocks = NCHWC

    def open(self, network: Network, *, threads: int = 1, batch: int = 1, trust: bool = False) -> Session:
        """An .onnx file of one input and one output; UserError where only the batch may be free and more is."""
        from ...export import onnx_session
        from ...export.agreement import described
        from ...export.onnx_read import read_onnx
        from ...export.session import run_session
        from ..session import ONNX_DTYPES, Session, check_one

        assert isinstance(network, Path)
        path, proto = network, read_onnx(network)
        session = onnx_session(path, threads=threads)
        inputs, outputs = session.get_inputs(), [entry.name for entry in session.get_outputs()]
        check_one(path, inputs, outputs)
        name, (fixed, *shape) = inputs[0].name, inputs[0].shape
        if not all(isinstance(size, int) for size in shape) or inputs[0].type not in ONNX_DTYPES:
            given = f"{inputs[0].type} of shape {inputs[0].shape}"
            raise UserError(
                f"{path}: takes {given}; only the batch may be free, and types are {', '.join(ONNX_DTYPES)}"
            )
        if (given := session.get_outputs()[0].type) not in ONNX_DTYPES:
            raise UserError(f"{path}: gives {given}; types are {', '.join(ONNX_DTYPES)}")

        def bind(images: Tensor) -> Callable[[], Any]:
            feed = {name: images.numpy()}
            return lambda: run_session(path, session, outputs, feed)[0]

        return Session(
            path,
            self.name,
            bind,
            shape=tuple(shape),
            dtype=ONNX_DTYPES[inputs[0].type],
            batches=(fixed, fixed) if isinstance(fixed, int) else None,
            tells=lambda: described(path, proto),
        )

    def profile(
        self, network: Network, images: Tensor, *, threads: int, space: Space, operators: Collection[str]
    ) -> LayerTimes:
        """The engine's profiler tells what each node took; its files lie beside `network` meanwhile."""
        from ..ort_profiling import ProfiledSession

        assert isinstance(network, Path)
        return ProfiledSession(network, images.numpy(), threads=threads)


BACKENDS.add(OnnxRuntime())
