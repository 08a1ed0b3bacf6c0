"""Where an ONNX file begins to differ from the PyTorch module that it was exported from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..plan import UserError
from .onnx_file import INPUT_NAME, inference_copy, onnx_graph
from .onnx_read import read_onnx

FLOATS = (1, 10, 16)
"""float32, float16 and bfloat16, as `onnx.TensorProto` numbers them."""


def first_divergence(model: nn.Module, path: str | Path, images_BCHW: Tensor, *, tolerance: float) -> str | None:
    """The first module of `model` whose output differs by more than `tolerance`, and the nodes behind it, in words.

    The file runs without graph optimisations, and every tensor that is the output of a module is compared with what
    the module gives in PyTorch: largest difference over the largest value, as in `compare_with_onnx`. Which tensor
    belongs to which module comes from exporting `model` again, so it takes as long. None when no module differs, or
    when the file's tensors are not those of an export of `model`.

    Args:
        model: the network that was exported.
        path: the ONNX file.
        images_BCHW: preprocessed images, float32.
        tolerance: largest difference allowed over the largest value.

    Example::

        first_divergence(model, "model.onnx", images, tolerance=1e-4)  # "conv1, made by Conv node_conv (conv1.weight)"
    """
    proto = read_onnx(path, weights=True)
    try:
        _, modules = onnx_graph(model, input_size=images_BCHW.shape[1:], opset=proto.opset_import[0].version)
    except UserError:  # traced by other means than ours
        return None
    wanted = _module_outputs(model, images_BCHW)
    last = _last_tensors(proto, modules)
    outputs = {last[module]: module for module in sorted(last, key=len) if module in wanted}  # the innermost stays
    given = _tensors(proto, list(outputs), images_BCHW)
    for node in proto.graph.node:
        for name in node.output:
            if name in outputs and _differs(given[name], wanted[outputs[name]], tolerance):
                return f"{outputs[name] or 'the network'}, made by {_makers(proto, name, known=set(outputs) - {name})}"
    return None


def _makers(proto: Any, tensor: str, *, known: set[str]) -> str:
    """The nodes between `known` tensors and `tensor`: those with weights, or else the last one."""
    sources = {name: node for node in proto.graph.node for name in node.output}
    weights = {entry.name for entry in proto.graph.initializer if entry.dims and entry.data_type in FLOATS}
    made, open_ends = [], [tensor]
    while open_ends:
        name = open_ends.pop()
        if name in sources and name not in known and sources[name] not in made:
            made.append(sources[name])
            open_ends += sources[name].input
    read = {node.name: [name for name in node.input if name in weights] for node in made}
    chosen = [node for node in reversed(made) if read[node.name]] or made[:1]
    return ", ".join(f"{node.op_type} {node.name} ({', '.join(read[node.name]) or 'no weights'})" for node in chosen)


def _last_tensors(proto: Any, modules: Mapping[str, str]) -> dict[str, str]:
    """{module: tensor}: the last tensor that the module, or a module inside it, makes; that is what it returns."""
    last: dict[str, str] = {}
    for node in proto.graph.node:
        for name in node.output:
            path = modules.get(name)
            while path is not None:
                last[path] = name
                path = path.rpartition(".")[0] if path else None
    return last


def _module_outputs(model: nn.Module, images_BCHW: Tensor) -> dict[str, Tensor]:
    """{module: what its last call gives} for modules that give one tensor."""
    network, found = inference_copy(model), {}

    def keep(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            found[path] = output

        return hook

    for path, module in network.named_modules():
        module.register_forward_hook(keep(path))
    with torch.inference_mode():
        network(images_BCHW.float().cpu())
    return {path: output for path, output in found.items() if isinstance(output, Tensor)}


def _tensors(proto: Any, names: list[str], images_BCHW: Tensor) -> dict[str, Tensor]:
    """The tensors `names` of the graph as it stands, without optimisations."""
    import onnxruntime as ort
    from onnx import ValueInfoProto

    graph = type(proto)()
    graph.CopyFrom(proto)
    del graph.graph.output[:]
    graph.graph.output.extend(ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(names, {INPUT_NAME: images_BCHW.float().cpu().numpy()})
    return dict(zip(names, map(torch.from_numpy, values), strict=True))


def _differs(given: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Whether two tensors of the same rows differ; those of others are another module's, which inlining left behind."""
    if given.numel() != wanted.numel() or given.shape[-1:] != wanted.shape[-1:] or not wanted.is_floating_point():
        return False
    given = given.reshape(wanted.shape)  # tokens of a window may be rows of one tensor of all windows
    scale = wanted.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return not (given - wanted).abs().max() / scale <= tolerance  # written so that NaN differs
