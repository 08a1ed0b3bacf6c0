"""TensorRT and TensorRT-RTX: engines on a GPU, from CUDA tensor to CUDA tensor with a wait for the result."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...plan import scratch
from ...plan.backends import BACKENDS
from ..blocks import TENSOR_CORES
from .base import LayerBackend, LayerTimes, Network

if TYPE_CHECKING:
    from torch import Tensor

    from ...spaces import Space
    from ..session import Session


class TensorRT(LayerBackend):
    """Opens its engines, and builds them first of .onnx files, which takes minutes."""

    takes, suffix, compiles = "onnx", ".engine", True
    blocks = TENSOR_CORES
    by_layers = False
    """Until its layers' times have been seen on a GPU."""

    def __init__(self, name: str, label: str) -> None:
        self.name, self.label, self.packages = name, label, (name,)

    def missing(self) -> str | None:
        """A GPU, then the package."""
        from ...export import tensorrt

        if tensorrt.cuda_device() is None:
            return "needs an NVIDIA GPU with driver, and here is none"
        return tensorrt.import_fault(self.name)

    def owns(self, path: Path) -> bool:
        """Whether `path` is an engine, and its card says that it is one of this backend."""
        from ...export import tensorrt

        return path.suffix == self.suffix and tensorrt.load_engine_card(path)["backend"] == self.name

    def open(self, network: Network, *, threads: int = 1, batch: int = 1, trust: bool = False) -> Session:
        """An .engine, or one built here of an .onnx file for `batch` images."""
        assert isinstance(network, Path)
        if network.suffix == self.suffix:
            return _open_engine(network, trust=trust)
        with scratch() as folder:
            return replace(_open_engine(self._built(network, folder, batch), trust=trust), source=network)

    def profile(
        self, network: Network, images: Tensor, *, threads: int, space: Space, operators: Collection[str]
    ) -> LayerTimes:
        """The engine's profiler tells what each layer took, and its inspector which nodes are in it."""
        from ...export import tensorrt
        from ...export.onnx_read import read_onnx
        from ..owners import owners_in
        from ..tensorrt_layers import EngineTimes, parse_layers, regions_of

        assert isinstance(network, Path)
        with scratch() as folder:
            engine = tensorrt.Engine(self._built(network, folder, len(images), detailed=True))
        layers = parse_layers(engine.layer_information(), source=network)
        regions = regions_of(layers, owners_in(read_onnx(network).graph), source=network)
        return EngineTimes(engine, images, regions)

    def _built(self, network: Path, folder: Path, batch: int, *, detailed: bool = False) -> Path:
        """An engine in `folder`, of an .onnx file, for `batch` images."""
        from ...export import tensorrt

        engine = folder / f"{network.stem}{self.suffix}"
        config = tensorrt.EngineConfig(backend=self.name, batch=(batch, batch, batch), detailed=detailed)
        tensorrt.build_engine(network, engine, config=config)
        return engine

    def facts(self) -> dict[str, Any]:
        """The GPU."""
        from ...export import tensorrt

        return {"gpu": tensorrt.cuda_device()}


def _open_engine(path: Path, *, trust: bool) -> Session:
    import torch

    from ...export import tensorrt
    from ...export.agreement import exported_metadata
    from ..session import Session, check_one

    engine = tensorrt.Engine(path, trust=trust)
    check_one(path, engine.card["inputs"], engine.card["outputs"])
    (entry,), profile = engine.card["inputs"], engine.card["profile"]

    def bind(images: Tensor) -> Callable[[], Any]:
        given = images.to(engine.device)

        def call() -> Tensor:
            (output,) = engine(given).values()
            torch.cuda.synchronize()
            return output

        return call

    return Session(
        path,
        engine.card["backend"],
        bind,
        device="cuda",
        shape=tuple(entry["shape"][1:]),
        dtype=getattr(torch, entry["dtype"]),
        batches=(profile[entry["name"]]["min"][0], profile[entry["name"]]["max"][0]),
        tells=lambda: exported_metadata(
            path, engine.card.get("metadata", {}), shape=entry["shape"][1:], pixels=entry["dtype"] == "uint8"
        ),
    )


BACKENDS.add(TensorRT("tensorrt", "TensorRT"))
BACKENDS.add(TensorRT("tensorrt-rtx", "TensorRT-RTX"))
