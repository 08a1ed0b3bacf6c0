"""Quantise an ONNX network to 8-bit integers after training; the ranges are measured on images."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..plan import UserError, check_settings, replacing, scratch
from .half import is_half, is_quantised
from .onnx_read import check_other, read_onnx, takes_pixels

if TYPE_CHECKING:
    from onnx import ModelProto

Feed = dict[str, NDArray[np.float32]]
Calibration = Literal["minmax", "entropy", "percentile"]
Activations = Literal["uint8", "int8"]

OPERATORS = ("Conv", "Gemm", "MatMul", "Relu", "Clip")
"""Operators computed with integers; Relu and Clip vanish in the rounding that follows them."""

SUM, NORM = "Add", "LayerNormalization"
"""Sums are integers as well, except in transformers: with a residual stream of 8 bits, the logits of a small ViT were
four times as wrong. A convolutional network is otherwise taken apart into integers and back at every block."""

CHUNK = 8
"""Images of one calibration call: `entropy` and `percentile` keep all activations of a call at once."""


@dataclass(frozen=True)
class Int8Config:
    """How a network is quantised.

    Args:
        calibration: how an activation's range follows from its values: `minmax` (all of them), `entropy` (least
            Kullback-Leibler divergence), `percentile` (99.999 % of them).
        activations: `uint8` suits x86 processors, `int8` (with zero at 0) ARM processors and TensorRT, which takes no
            others.
        reduce_range: weights of 7 bits: on x86 processors without VNNI the sum of two products of `uint8` and `int8`
            overflows 16 bits otherwise. None: with `uint8` activations, so that a file is right on every processor.

    Raises UserError for other values.

    Example::

        Int8Config(calibration="entropy")
    """

    calibration: Calibration = "minmax"
    activations: Activations = "uint8"
    reduce_range: bool | None = None

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def seven_bits(self) -> bool:
        """Whether weights have 7 bits."""
        return self.activations == "uint8" if self.reduce_range is None else self.reduce_range


def quantize_int8(
    source: str | Path, path: str | Path, images: Iterable[Tensor], *, config: Int8Config | None = None
) -> Path:
    """Write the float32 ONNX file `source`, quantised to 8 bits, at `path`.

    The file holds QuantizeLinear and DequantizeLinear nodes around float32 operators, which engines fuse to integer
    kernels. Weights are symmetric `int8` with a scale per output channel; inputs and outputs stay float32. Biases are
    `int32`, or float32 with `int8` activations: TensorRT refuses `int32`, and ONNX Runtime quantises the others itself
    when it opens the file. The metadata of `source` are kept, and `quantization` tells how the file was made, as JSON.

    Args:
        source: a float32 ONNX file.
        path: the file to write.
        images: batches, float32 [B, C, H, W], preprocessed as for inference: some hundred training images, since ranges
            fitted to test images would flatter the test.
        config: how to quantise; None: the defaults.

    Raises UserError when there are no images or they do not fit the network, when `source` is missing, corrupt,
    float16 or quantised already, takes pixels, has more than one input or a fixed batch, or when nothing in it can be
    quantised.

    Example::

        batches = (x_BCHW for x_BCHW, _ in eval_loader(data.train.subset(range(256)), batch_size=32))
        quantize_int8("model.onnx", "model.int8.onnx", batches)
    """
    source, path, config = Path(source), Path(path), config or Int8Config()
    proto = read_onnx(source, weights=True)
    name, shape = _input(proto, source)
    check_other(path, source)
    chunks = _chunks(images, shape)
    result = quantised(proto, [{name: chunk} for chunk in chunks], config=config, source=source)
    return write_int8(result, path, proto, record_of(proto, config, images=sum(map(len, chunks))))


def quantised(proto: ModelProto, feeds: Sequence[Feed], *, config: Int8Config, source: str | Path) -> ModelProto:
    """`proto` with QuantizeLinear and DequantizeLinear nodes; UserError, of `source`, where nothing can be quantised.

    Args:
        proto: float32, of one input.
        feeds: {input: images} of each calibration call; they are taken one at a time.
        config: how to quantise.
        source: where it comes from.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with scratch() as folder:
        prepared, written = folder / "prepared.onnx", folder / "quantised.onnx"
        quant_pre_process(proto, prepared)
        _quantise(prepared, written, feeds, operators_of(proto), config)
        result = onnx.load(str(written))
    if not is_quantised(result):
        raise UserError(f"{source}: has no {', '.join(OPERATORS[:3])} with weights, so nothing to quantise")
    _add_biases_of_gemms(result)
    return result


def check_float(proto: ModelProto, source: str | Path) -> None:
    """UserError where the network of `source` is quantised or float16 already."""
    if is_quantised(proto) or is_half(proto):
        what = "quantised" if is_quantised(proto) else "float16"
        raise UserError(f"{source}: is {what} already; give the float32 network")


def operators_of(proto: ModelProto) -> list[str]:
    """The operators of `proto` that are computed with integers."""
    transformer = any(node.op_type == NORM for node in proto.graph.node)
    return [*OPERATORS, *([] if transformer else [SUM])]


def write_int8(result: ModelProto, path: str | Path, source: ModelProto, record: Mapping[str, Any]) -> Path:
    """Write `result` at `path` with the metadata of `source`, and `record` as `quantization`; it is checked before."""
    import onnx

    del result.metadata_props[:]  # ONNX Runtime's own notes
    kept = {entry.key: entry.value for entry in source.metadata_props}
    onnx.helper.set_model_props(result, {**kept, "quantization": json.dumps(record)})
    onnx.checker.check_model(result, full_check=True)
    with replacing(path) as tmp:
        onnx.save_model(result, str(tmp))
    return Path(path)


def record_of(proto: ModelProto, config: Int8Config, *, images: int) -> dict[str, Any]:
    """How `proto` was quantised, as its file's metadata tell; `images` is their number."""
    return {
        "weights": "int8",
        "activations": config.activations,
        "biases": "float32" if config.activations == "int8" else "int32",
        "per_channel": True,
        "reduce_range": config.seven_bits,
        "calibration": config.calibration,
        "calibration_images": images,
        "operators": operators_of(proto),
    }


def _quantise(source: Path, path: Path, feeds: Sequence[Feed], operators: list[str], config: Int8Config) -> None:
    from onnxruntime import quantization as ort

    class Feeds(ort.CalibrationDataReader):
        """The feeds, one calibration step each."""

        def __len__(self) -> int:
            return len(feeds)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.left = (feeds[i] for i in range(start_index, min(end_index, len(feeds))))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.left, None)

    methods = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
    symmetric = config.activations == "int8"
    with contextlib.redirect_stdout(io.StringIO()):  # the histograms' progress
        ort.quantize_static(
            source,
            path,
            Feeds(),
            quant_format=ort.QuantFormat.QDQ,
            op_types_to_quantize=operators,
            per_channel=True,
            reduce_range=config.seven_bits,
            activation_type=ort.QuantType.QInt8 if symmetric else ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            calibrate_method=ort.CalibrationMethod[methods[config.calibration]],
            extra_options={
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
                "QuantizeBias": not symmetric,
                "OpTypesToExcludeOutputQuantization": ["Gemm"],  # logits in float32, for free
                "CalibStridedMinMax": 1,  # for every method: forget the activations after each feed
            },
        )


def _add_biases_of_gemms(proto: Any) -> None:
    """Take the float32 biases out of Gemm nodes and add them behind.

    ONNX Runtime computes a Gemm with integers only where its bias is missing or quantised, and quantises it itself
    only where the output is rounded as well, which logits are not.
    """
    from onnx import helper

    weights = {tensor.name for tensor in proto.graph.initializer}
    nodes = []
    for node in proto.graph.node:
        nodes.append(node)
        beta = next((entry.f for entry in node.attribute if entry.name == "beta"), 1.0)
        if node.op_type == "Gemm" and len(node.input) == 3 and node.input[2] in weights and beta == 1:
            product, output, bias = f"{node.output[0]}_product", node.output[0], node.input.pop()
            node.output[0] = product
            nodes.append(helper.make_node("Add", [product, bias], [output], name=f"{output}_bias"))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _input(proto: Any, source: Path) -> tuple[str, tuple[int, ...]]:
    """Name of the input and (C, H, W)."""
    check_float(proto, source)
    if takes_pixels(proto):
        raise UserError(f"{source}: takes pixels (uint8); give the float32 network that it was made from")
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [entry for entry in proto.graph.input if entry.name not in weights]
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    if len(inputs) != 1 or not shape or shape[0] or not all(shape[1:]):
        shapes = [[d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in inputs]
        raise UserError(f"{source}: takes {shapes}; must take one input of which the batch alone is free; export again")
    return inputs[0].name, tuple(shape[1:])


def _chunks(images: Iterable[Tensor], shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """The images, CHUNK at a time."""
    batches = [batch.float().cpu().numpy() for batch in images]
    if not sum(map(len, batches)):
        raise UserError("images: none; some hundred training images are needed to measure ranges")
    if odd := [batch.shape for batch in batches if batch.shape[1:] != shape]:
        raise UserError(f"images: of shape {odd[0]}, but the network takes (batch, {', '.join(map(str, shape))})")
    return [batch[start : start + CHUNK] for batch in batches for start in range(0, len(batch), CHUNK)]
