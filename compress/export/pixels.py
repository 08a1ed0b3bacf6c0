"""Let an exported network take pixels: normalisation and transposition move into its graph.

Shapes: B images of a batch, H x W pixels, C channels (1 grey, 3 RGB, 4 RGBA).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..plan import UserError, replacing
from .agreement import PIXELS, check_network, described
from .onnx_read import read_onnx, takes_pixels

PREFIX = "pixels_"
"""Begins the names of the nodes and tensors that come before the network."""


def export_pixels(source: str | Path, path: str | Path) -> Path:
    """Write the ONNX file `source`, made to take pixels, at `path`: uint8 (batch, H, W, C) of the input's size.

    Before the network come a cast to float32, the transposition to NCHW, one multiplication and one addition, with the
    mean and the standard deviation of the file's metadata. They give what `uint8 / 255`, minus mean, over std gives to
    some 1e-7 of the largest value, and are float32 for a float16 or INT8 network too: its own nodes are left as they
    are. Resizing and cropping stay outside. The entry `preprocessing` of the metadata gets `"input": "uint8 NHWC"`.

    Raises UserError when `source` takes pixels already, is a detector, does not take float32 (batch, C, H, W), or does
    not tell its preprocessing; further as `read_onnx` does.

    Example::

        export_pixels("model.onnx", "model.uint8.onnx")
        (logits,) = onnx_session("model.uint8.onnx").run(["logits"], {"images": pixels})
    """
    import onnx

    proto = read_onnx(source, weights=True)
    if takes_pixels(proto):
        raise UserError(f"{source}: takes pixels already; leave the option out")
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    if "detector" in metadata:
        raise UserError(f"{source}: a detector, whose images are scaled and padded outside; leave --uint8-input out")
    check_network(source, proto)
    _, preprocessing = described(source, proto)
    if absent := [key for key in ("input_size", "mean", "std") if key not in preprocessing]:
        raise UserError(f"{source}: its preprocessing has no {absent[0]}; export the network with `nncompress export`")
    _prepend(proto, source, preprocessing)
    metadata["preprocessing"] = json.dumps({**preprocessing, "input": PIXELS})
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    with replacing(path) as tmp:
        onnx.save_model(proto, str(tmp))
    return Path(path)


def _prepend(proto: Any, source: str | Path, preprocessing: Mapping[str, Any]) -> None:
    """Put the nodes before the network of `proto`. The cast stands first: TensorRT takes bytes only there."""
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    tensor, name = graph.input[0].type.tensor_type, graph.input[0].name
    (batch, *size) = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    if tensor.elem_type != TensorProto.FLOAT or size != preprocessing["input_size"]:
        raise UserError(
            f"{source}: takes {TensorProto.DataType.Name(tensor.elem_type).lower()} of shape {size}, prepared for "
            f"{preprocessing['input_size']}; both must be [channels, height, width], of float; export the network again"
        )
    mean, std = (np.array(preprocessing[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    nodes = []
    for key, value in (("scale", 1 / (255 * std)), ("shift", -mean / std)):  # no initializers: those are weights
        constant = numpy_helper.from_array(value.astype(np.float32))
        nodes.append(helper.make_node("Constant", [], [PREFIX + key], name=PREFIX + key, value=constant))
    last = name
    for operator, constants, options in (
        ("Cast", [], {"to": TensorProto.FLOAT}),
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
        ("Mul", [PREFIX + "scale"], {}),
        ("Add", [PREFIX + "shift"], {}),
    ):
        made = PREFIX + operator.lower()
        nodes.append(helper.make_node(operator, [last, *constants], [made], name=made, **options))
        last = made
    network = list(graph.node)
    for node in network:
        node.input[:] = [last if given == name else given for given in node.input]
    del graph.node[:]
    graph.node.extend([*nodes, *network])
    graph.input[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, [batch, *size[1:], size[0]]))


def network_input(images_BCHW: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Normalised images (float32) as a network with this `preprocessing` takes them: unchanged, or uint8 (B, H, W, C).

    The images must have come from bytes, as those of `ImageData` do: then these very bytes are returned.

    Example::

        logits = model(network_input(images, preprocessing))
    """
    if preprocessing.get("input") != PIXELS:
        return images_BCHW
    mean, std = (torch.tensor(preprocessing[key]).view(-1, 1, 1) for key in ("mean", "std"))
    pixels_BCHW = (images_BCHW * std + mean).mul(255).round().clamp(0, 255).to(torch.uint8)
    return pixels_BCHW.permute(0, 2, 3, 1).contiguous()
