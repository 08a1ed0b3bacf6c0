"""OpenVINO on the CPU, from NumPy array to NumPy array, in float32."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...plan import Threads, UserError, check_setting
from ...plan.backends import BACKENDS
from ...plan.errors import reason
from ...plan.packages import absent, needs
from ..blocks import ONEDNN
from .base import LayerBackend, LayerTimes, Network

if TYPE_CHECKING:
    from torch import Tensor

    from ...spaces import Space
    from ..session import Session

PACKAGE = {"module": "openvino", "package": "OpenVINO", "extra": "openvino"}

REPORTER = "openvino_telemetry"
"""A module that OpenVINO imports where it is installed, to tell its makers of every import, without asking."""


class OpenVino(LayerBackend):
    """An .onnx file is compiled for the number of images of a call, as it is deployed: free batches cost fusions."""

    name, label, takes = "openvino", "OpenVINO", "onnx"
    packages = ("openvino", "torch")
    """PyTorch's exporter decides which nodes there are."""
    blocks = ONEDNN

    def missing(self) -> str | None:
        """The package."""
        _silence()
        return absent(**PACKAGE)

    def open(self, network: Network, *, threads: int = 1, batch: int = 1, trust: bool = False) -> Session:
        """An .onnx file of one input and one output; UserError where only the batch may be free and more is."""
        import torch

        from ...export.agreement import described
        from ...export.onnx_read import read_onnx
        from ..session import Session

        assert isinstance(network, Path)
        path, proto = network, read_onnx(network)
        compiled = compile_onnx(path, threads=threads, batch=batch)
        request, (entry,) = compiled.create_infer_request(), compiled.inputs
        fixed, *shape = entry.get_shape()

        def bind(images: Tensor) -> Callable[[], Any]:
            given = _openvino().Tensor(images.contiguous().numpy(), shared_memory=True)

            def call() -> Any:
                request.set_input_tensor(given)
                try:
                    request.infer()
                except RuntimeError as error:
                    raise UserError(f"{path}: fails in OpenVINO ({reason(error)}); export it again") from error
                return request.get_output_tensor().data.copy()  # the next call writes to the same place

            return call

        return Session(
            path,
            self.name,
            bind,
            shape=tuple(shape),
            dtype=getattr(torch, DTYPES[entry.get_element_type().get_type_name()]),
            batches=(fixed, fixed),
            tells=lambda: described(path, proto),
        )

    def profile(
        self, network: Network, images: Tensor, *, threads: int, space: Space, operators: Collection[str]
    ) -> LayerTimes:
        """The engine's counters tell what each layer took, and its compiled graph which nodes are in it."""
        from ...export.onnx_read import read_onnx
        from ..openvino_profiling import CountedNetwork
        from ..owners import owners_in

        assert isinstance(network, Path)
        compiled = compile_onnx(network, threads=threads, batch=len(images), profiled=True)
        return CountedNetwork(compiled, images.numpy(), owners_in(read_onnx(network).graph))


DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}
"""OpenVINO's type of an input or output -> PyTorch's."""


def compile_onnx(path: Path, *, threads: int, batch: int, profiled: bool = False) -> Any:
    """The compiled network of an .onnx file, for calls of `batch` images, or as many as the file itself says.

    One stream on `threads` threads, which the system may move from core to core as those of other engines.

    Args:
        path: of the file.
        threads: of one call.
        batch: images of one call.
        profiled: count the time of every layer.

    Raises UserError for a file that OpenVINO refuses, and for one that is not of one input and one output.
    """
    from ..session import check_one

    check_setting("threads", threads, Threads)
    openvino = _openvino()
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": profiled,
    }
    try:
        core = _core(openvino)
        model = core.read_model(str(path))
        check_one(path, model.inputs, model.outputs)
        _check_types(path, model)
        size = model.input().partial_shape
        if size[0].is_dynamic:
            size[0] = batch
            model.reshape(size)
        return core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise UserError(f"{path}: OpenVINO refuses it ({reason(error)}); export it again") from error


def _check_types(path: Path, model: Any) -> None:
    """UserError unless images of one size go in, and types are known."""
    size = model.input().partial_shape
    if size.rank.is_dynamic or any(side.is_dynamic for side in list(size)[1:]):
        raise UserError(f"{path}: takes images of shape {size}; only the batch may be free")
    for port, does in ((model.input(), "takes"), (model.output(), "gives")):
        if (kind := port.get_element_type().get_type_name()) not in DTYPES:
            raise UserError(f"{path}: {does} {kind}; types are {', '.join(DTYPES)}")


@cache
def _core(openvino: Any) -> Any:
    """OpenVINO's one Core, which stays: the main thread gets a signal stack with each, and that of the last one may go
    while it is still in use where two of them overlapped. The next signal then ends the process (2026.4).
    """
    return openvino.Core()


def _openvino() -> Any:
    """The package; UserError where it cannot be imported."""
    _silence()
    return needs(**PACKAGE, what="backend openvino")


def _silence() -> None:
    """Have OpenVINO find no REPORTER, unless it has been imported before: it then does without."""
    sys.modules.setdefault(REPORTER, None)  # type: ignore[arg-type]


BACKENDS.add(OpenVino())
