"""Files that compute: ONNX files, TensorRT engines and run folders behind one interface, for timing and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..export import Engine, EngineConfig, build_engine, cuda_device, onnx_session
from ..export.agreement import described, exported_metadata
from ..export.onnx_read import read_onnx
from ..export.session import run_session
from ..export.tensorrt import load_engine_card
from ..plan import UserError, scratch
from ..spaces import load_model

BACKENDS = ("onnxruntime", "tensorrt", "tensorrt-rtx")

DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(uint8)": torch.uint8}
"""ONNX Runtime's input type -> PyTorch's."""


@dataclass(frozen=True)
class Model:
    """A network with one input and one output, ready to run.

    Args:
        path: what was opened.
        backend: what computes: `pytorch`, or one of BACKENDS.
        device: where: `cpu` or `cuda`.
        shape: of one image, as the network takes it.
        dtype: of its input.
        batches: images of one call, smallest and largest; None: no limit.
        described: gives classes and preprocessing of the network; UserError when the file does not tell.
        bind: images [batch, *shape], on the CPU -> a call that computes their output and returns when it is ready.

    Example::

        model = open_model("model.onnx")
        logits = model(images)
    """

    path: Path
    backend: str
    device: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    batches: tuple[int, int] | None
    described: Callable[[], tuple[tuple[str, ...], Mapping[str, Any]]]
    bind: Callable[[Tensor], Callable[[], Any]]

    def __call__(self, images: Tensor) -> Tensor:
        """Output [batch, ...], float32 on the CPU, for any number of images: filled up and divided as needed.

        UserError for images that are no bytes where the network takes pixels.
        """
        if self.dtype == torch.uint8 and images.dtype != torch.uint8:
            raise UserError(f"{self.path}: takes pixels (uint8), not {images.dtype}; see compress.export.network_input")
        images, count = images.to(self.dtype), len(images)
        low, high = self.batches or (1, count)
        parts = []
        for part in images.split(high):
            missing = max(0, low - len(part))
            filled = torch.cat([part, part.new_zeros(missing, *self.shape)]) if missing else part
            parts.append(torch.as_tensor(self.bind(filled)())[: len(part)].float().cpu())
        return torch.cat(parts)


def open_model(
    path: str | Path, *, backend: str | None = None, threads: int = 1, batch: int = 1, trust: bool = False
) -> Model:
    """Open an .onnx file, an .engine, or a run folder (a stem or .safetensors file likewise).

    `backend` None: what the file is for. An .onnx file with a TensorRT `backend` is built first, for `batch` images,
    which takes minutes. `threads` are ONNX Runtime's; `trust` is of engines, as `Engine` has it. Raises UserError when
    the file is missing or broken, has more than one input or output, does not fit `backend`, or needs a GPU that is not
    there.

    Example::

        open_model("model.onnx", threads=4)
    """
    path = Path(path)
    if path.suffix == ".engine":
        found = load_engine_card(path)["backend"]
        if backend not in (None, found):
            raise UserError(f"{path}: an engine of {found}; leave --backend {backend} out")
        return _open_engine(path, trust=trust)
    if path.suffix != ".onnx":
        return _open_run(path)
    if backend in (None, "onnxruntime"):
        return _open_onnx(path, threads=threads)
    if cuda_device() is None:
        raise UserError(f"--backend {backend}: needs an NVIDIA GPU with driver, and here is none; leave it out")
    with scratch() as folder:
        engine = folder / f"{path.stem}.engine"
        build_engine(path, engine, config=EngineConfig(backend=backend, batch=(batch, batch, batch)))
        return replace(_open_engine(engine), path=path)


def _open_onnx(path: Path, *, threads: int) -> Model:
    proto = read_onnx(path)
    session = onnx_session(path, threads=threads)
    inputs, outputs = session.get_inputs(), [entry.name for entry in session.get_outputs()]
    _check_one(path, inputs, outputs)
    name, (fixed, *shape) = inputs[0].name, inputs[0].shape
    if not all(isinstance(size, int) for size in shape) or inputs[0].type not in DTYPES:
        given = f"{inputs[0].type} of shape {inputs[0].shape}"
        raise UserError(f"{path}: takes {given}; only the batch may be free, and types are {', '.join(DTYPES)}")

    if (given := session.get_outputs()[0].type) not in DTYPES:
        raise UserError(f"{path}: gives {given}; types are {', '.join(DTYPES)}")

    def bind(images: Tensor) -> Callable[[], Any]:
        feed = {name: images.numpy()}
        return lambda: run_session(path, session, outputs, feed)[0]

    return Model(
        path=path,
        backend="onnxruntime",
        device="cpu",
        shape=tuple(shape),
        dtype=DTYPES[inputs[0].type],
        batches=(fixed, fixed) if isinstance(fixed, int) else None,
        described=lambda: described(path, proto),
        bind=bind,
    )


def _open_engine(path: Path, *, trust: bool = False) -> Model:
    engine = Engine(path, trust=trust)
    _check_one(path, engine.card["inputs"], engine.card["outputs"])
    (entry,), profile = engine.card["inputs"], engine.card["profile"]

    def bind(images: Tensor) -> Callable[[], Any]:
        given = images.to(engine.device)

        def call() -> Tensor:
            (output,) = engine(given).values()
            torch.cuda.synchronize()
            return output

        return call

    return Model(
        path=path,
        backend=engine.card["backend"],
        device="cuda",
        shape=tuple(entry["shape"][1:]),
        dtype=getattr(torch, entry["dtype"]),
        batches=(profile[entry["name"]]["min"][0], profile[entry["name"]]["max"][0]),
        described=lambda: exported_metadata(
            path, engine.card.get("metadata", {}), shape=entry["shape"][1:], pixels=entry["dtype"] == "uint8"
        ),
        bind=bind,
    )


def _check_one(path: Path, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; only networks with one of each run here"
        )


def _open_run(path: Path) -> Model:
    network, _, card = load_model(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device).to(memory_format=torch.channels_last)  # as training evaluates

    def bind(images: Tensor) -> Callable[[], Any]:
        given = images.to(device, memory_format=torch.channels_last)

        def call() -> Tensor:
            with torch.inference_mode():
                return network(given)

        return call

    return Model(
        path=path,
        backend="pytorch",
        device=device,
        shape=card.input_size,
        dtype=torch.float32,
        batches=None,
        described=lambda: (card.classes, card.preprocessing),
        bind=bind,
    )


def count_weights(path: str | Path) -> int:
    """Numbers in the weights of an ONNX file, floating-point or quantised; scales, zero points and shapes do not count.

    The exporter has merged BatchNorms into convolutions, so that these are fewer than the network's parameters.
    """
    from onnx import TensorProto

    graph = read_onnx(path).graph
    floating = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    coders = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    scales = {name for node in coders for name in node.input[1:]}
    quantised = {node.input[0] for node in coders}
    counted = [
        t for t in graph.initializer if t.name in quantised or (t.data_type in floating and t.name not in scales)
    ]
    return sum(torch.Size(tensor.dims).numel() for tensor in counted)
