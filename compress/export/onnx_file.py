"""Write a network as one self-contained ONNX file with a free batch axis."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

from ..plan import Count, Range, UserError, check_settings, replacing
from .quick_matching import quick_matching
from .rewriting import rewrite

INPUT_NAME = "images"
OUTPUT_NAME = "logits"
OLDEST_OPSET, NEWEST_OPSET = 18, 22
SCOPES = "pkg.torch.onnx.name_scopes"
"""The exporter's note on a node of the modules that it comes from."""

SOFT_MASK, HARD_MASK = -100.0, -1e4
"""What Swin adds to the logits of tokens of other windows, and what stands for it here. exp(-100) makes softmax give
denormal numbers, which processors multiply many times more slowly than zeros; -1e4 gives zeros, and fits float16."""


@dataclass(frozen=True)
class ExportConfig:
    """How a network is exported and how closely ONNX Runtime must agree with PyTorch.

    Args:
        opset: ONNX operator set, 18 to 22.
        tolerance: the largest allowed `max_rel_diff` (see `compare_with_onnx`).
        parity_images: number of real images the two are compared on.

    Raises UserError for values out of range.

    Example::

        ExportConfig(opset=20, tolerance=1e-5)
    """

    opset: int = 18
    tolerance: Annotated[float, Range(above=0, at_most=1e6, remedy="1e-4 suits float32 networks")] = 1e-4
    parity_images: Count = 256

    def __post_init__(self) -> None:
        check_opset(self.opset)
        check_settings(self)


def inference_copy(model: nn.Module) -> nn.Module:
    """Return a float32 copy of `model` on the CPU in eval mode; `model` itself is left as it is.

    Masks of attention (buffers named `attn_mask`) are made hard, which changes outputs by less than float32 resolves
    and saves Swin a fifth of its time.

    Example::

        network = inference_copy(model)
        with torch.inference_mode():
            logits = network(torch.zeros(1, 3, 32, 32))
    """
    network = copy.deepcopy(model).float().cpu().eval()
    for name, buffer in network.named_buffers():
        if name.endswith("attn_mask"):
            buffer.masked_fill_(buffer == SOFT_MASK, HARD_MASK)
    return network


def export_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    input_size: Sequence[int],
    opset: int = 18,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write `model` in eval mode as a float32 ONNX file and return its path.

    The graph maps `images` (batch, C, H, W) to `logits` (batch, classes) for any batch size. Weights lie inside the
    file, and nothing in it tells where it was made: the exporter's stack traces are removed. The file is checked
    (`onnx.checker`, with shape inference) before it takes its name; after a failure an older file is untouched.

    Args:
        model: any network of one input and one output.
        path: the file to write.
        input_size: (C, H, W).
        opset: of ONNX.
        metadata: the file's `metadata_props`; values are strings, usually JSON.

    Raises UserError when `opset` or `input_size` is out of range, when PyTorch cannot trace the network, or when the
    traced network does not give one output of free batch size.

    Example::

        export_onnx(model, "model.onnx", input_size=(3, 32, 32), metadata={"classes": '["cat", "dog"]'})
        session = onnx_session("model.onnx")
        (logits,) = session.run(["logits"], {"images": images})
    """
    import onnx

    proto, _ = onnx_graph(model, input_size=input_size, opset=opset)
    onnx.helper.set_model_props(proto, metadata or {})
    onnx.checker.check_model(proto, full_check=True)
    with replacing(path) as tmp:
        onnx.save_model(proto, str(tmp))
    return Path(path)


def onnx_graph(
    model: nn.Module, *, input_size: Sequence[int], opset: int = 18, batch: int | None = None
) -> tuple[Any, dict[str, str]]:
    """The `onnx.ModelProto` that `export_onnx` writes, and the module that computes each of its tensors.

    The second value is {output tensor of a node: module path}, "" for the network itself: whoever times the graph can
    tell what the time is spent on. The file itself does not carry it. Raises as `export_onnx` does.

    Args:
        model: any network of one input and one output.
        input_size: (C, H, W).
        opset: of ONNX.
        batch: the number of images that the graph takes; None: any.

    Example::

        proto, modules = onnx_graph(model, input_size=(3, 32, 32))
        modules[proto.graph.node[0].output[0]]  # "conv1"
    """
    check_opset(opset)
    size = tuple(input_size)
    if len(size) != 3 or min(size) < 1:
        raise UserError(f"input_size={size}: must be three positive integers (channels, height, width)")
    images = torch.randn(batch or 2, *size, generator=torch.Generator().manual_seed(0))
    proto = trace_onnx(
        inference_copy(model),
        (images,),
        opset=opset,
        inputs=[INPUT_NAME],
        outputs=[OUTPUT_NAME],
        dynamic_shapes=({0: torch.export.Dim("batch")},) if batch is None else None,
        refusal=lambda reason: (
            f"model: {type(model).__name__} cannot be exported to ONNX ({reason}); its forward must be traceable by "
            "torch.export, with no branch on tensor values; rewrite that part of forward"
        ),
    )
    modules = modules_of(proto)
    strip_traces(proto)
    if batch is None:
        _check_batch_axis(proto, model)
    return proto, modules


def modules_of(proto: Any) -> dict[str, str]:
    """Output tensor -> path of the module whose forward made it, from the exporter's traces."""
    found: dict[str, str] = {}
    for node in proto.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
        path = ast.literal_eval(scopes)  # the modules around, outermost first, and the operation's own name
        found |= dict.fromkeys(node.output, path[-2] if len(path) > 1 else "")
    return found


def check_opset(opset: int) -> None:
    """UserError for an operator set that is not written."""
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        rule, remedy = (
            f"must lie between {OLDEST_OPSET} and {NEWEST_OPSET}",
            f"{OLDEST_OPSET} is the most widely supported",
        )
        raise UserError(rule, argument="opset", value=opset, remedy=remedy)


def trace_onnx(
    network: nn.Module,
    examples: tuple[torch.Tensor, ...],
    *,
    opset: int,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic_shapes: tuple[Any, ...] | None = None,
    refusal: Callable[[str], str],
) -> Any:
    """Trace `network`, a copy of its own, with torch.export and translate; returns an `onnx.ModelProto`.

    When tracing fails, torch prints whole graphs to stderr before it raises. They are kept as a note on the exception;
    after a success whatever was written (a warning of the network's own code) is passed on.

    Args:
        network: changed (`rewrite`).
        examples: its arguments.
        opset: of ONNX.
        inputs, outputs: names.
        dynamic_shapes: which axes of its arguments are of any size, as torch.export has them; None: none.
        refusal: the message of the UserError where it cannot be traced, from the reason.
    """
    chatter = io.StringIO()
    try:
        with contextlib.redirect_stderr(chatter), warnings.catch_warnings(), quick_matching():
            warnings.filterwarnings("ignore", ".*create_unbacked_symint", FutureWarning)  # torchvision's nms
            program = torch.onnx.export(
                rewrite(network, opset=opset),
                examples,
                dynamo=True,
                external_data=False,
                opset_version=opset,
                input_names=[*inputs],
                output_names=[*outputs],
                dynamic_shapes=dynamic_shapes,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        error.add_note(chatter.getvalue())
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise UserError(refusal(reason)) from error
    sys.stderr.write(chatter.getvalue())
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto


def strip_traces(proto: Any) -> None:
    """Remove what the exporter records about its origin: it names paths of this machine and makes the file larger."""
    graph = proto.graph
    for owner in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        owner.ClearField("metadata_props")
        owner.ClearField("doc_string")


def _check_batch_axis(proto: Any, model: nn.Module) -> None:
    """The input and the only output must have a symbolic first axis: tracing may have frozen the example's batch."""
    outputs = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.output]
    (batch, *_) = proto.graph.input[0].type.tensor_type.shape.dim
    if len(outputs) != 1:
        raise UserError(
            f"model: {type(model).__name__} gives {len(outputs)} outputs; the file has one; wrap it in a module "
            "that gives one tensor, or call torch.onnx.export"
        )
    if outputs[0][:1] != [batch.dim_param] or not batch.dim_param:
        raise UserError(
            f"model: {type(model).__name__} gives outputs of shape {outputs} for an input batch of "
            f"'{batch.dim_param or batch.dim_value}'; it must give one tensor whose first axis is the batch; "
            "take sizes from the input's shape instead of constants in forward"
        )
