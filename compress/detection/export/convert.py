"""Write a whole detector as one ONNX file."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

from ...export.onnx_file import check_opset, inference_copy, modules_of, strip_traces, trace_onnx
from ...export.rewriting import rewrite
from ...plan import Range, UserError, check_setting, replacing
from .dense import DenseGraph
from .graph import FORMS, DetectorGraph
from .queries import QueryGraph
from .roi_align import FIXED_RATIO
from .supported import box_settings, check_detector, check_sizes, has_queries, is_dense, usual_candidates
from .windows import gather_windows

INPUTS = ("images", "image_size")
OUTPUTS = ("boxes", "scores", "labels", "masks")
MAPPING = ("network.backbone", "network.neck")
"""Where the modules begin that make maps of an image."""
Batch = Annotated[int, Range(at_least=1, at_most=64, remedy="every image adds its own suppression to the graph")]

SAMPLED = (
    f"sampling_ratio = 0: form plugin-free takes {FIXED_RATIO} samples a bin and axis instead of as many as the box "
    f"needs; its results differ from MMDetection's unless the config has sampling_ratio={FIXED_RATIO}"
)


def export_detector(
    network: nn.Module,
    path: str | Path,
    *,
    input_size: Sequence[int],
    form: str = "onnxruntime",
    max_detections: int | None = None,
    candidates: int | None = None,
    scale: Sequence[int] | None = None,
    exif: bool = True,
    batch: int = 1,
    opset: int = 18,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write `network`, a detector of MMDetection, as a float32 ONNX file from image to boxes and masks.

    Inputs are `images`, float32 [1, 3, H, W] as the data preprocessor makes them, and `image_size`, float32 [1, 2]:
    height and width of the image in its upper left, the rest being padding. Outputs are `boxes` [1, K, 4] (x1, y1, x2,
    y2 in pixels of the input), `scores` [1, K], `labels` [1, K], int64, and, with a mask head, `masks` [1, K, 28, 28],
    probabilities within the box. What is no detection has score 0 and label -1. Of a `batch` of images each has its own
    row in all of them.

    The file is checked before it takes its name. UserError tells of detectors and sizes that are not exported.

    Args:
        network: a detector of MMDetection that `check_detector` lets pass.
        path: the file to write.
        input_size: (3, H, W), H and W multiples of 32.
        form: "onnxruntime" uses ONNX's RoiAlign and NonMaxSuppression; "plugin-free" has neither, and no operator of
            data-dependent shape, for TensorRT. There RoIs are sampled at 2 x 2 points a bin where the config has
            `sampling_ratio=0` (as many as the box needs), with a warning, because results then differ.
        max_detections: K; None: the config's `max_per_img`.
        candidates: see `DetectorGraph`; None: 2000, and as many as 3840 of a detector with one stage.
        scale: (long, short), the sides within which images are scaled, if `input_size` takes them so: for the file's
            entry `preprocessing`. None: images are scaled as large as `input_size` takes them.
        exif: whether images are turned as their EXIF orientation says, for the same entry.
        batch: number of images of one call.
        opset: of ONNX.
        metadata: joins the file's own entries `preprocessing` and `detector` (JSON).

    Example::

        export_detector(network, "detector.onnx", input_size=(3, 800, 1344))
        session = onnx_session("detector.onnx")
        boxes, scores, labels, masks = session.run(None, {"images": images, "image_size": [[750.0, 1333.0]]})
    """
    check_opset(opset)
    size = _checked(input_size, form)
    check_setting("batch", batch, Batch)
    check_detector(network)
    copied = prepared(network, opset=opset)
    count = box_settings(copied).max_per_img if max_detections is None else max_detections
    most = usual_candidates(copied) if candidates is None else candidates
    check_sizes(copied, count, most, form=form)
    kind = graph_class(copied)
    graph = kind(copied, input_size=size, form=form, max_detections=count, candidates=most).eval()
    if _substitutes(graph, form):
        warnings.warn(SAMPLED, stacklevel=2)
    own = described(network, graph, size, form=form, scale=scale, exif=exif)
    proto = traced(graph, size, opset=opset, batch=batch)
    own["detector"]["maps"] = maps_in(proto)
    return write(proto, path, own, metadata)


def graph_class(network: Any) -> type[DetectorGraph]:
    """What computes the detections of `network`, a detector that `check_detector` lets pass."""
    if has_queries(network):
        return QueryGraph
    return DenseGraph if is_dense(network) else DetectorGraph


def write(proto: Any, path: str | Path, own: dict[str, Any], metadata: dict[str, str] | None) -> Path:
    """Give `proto` its metadata in place of the exporter's traces, check it, and write it to `path`.

    Args:
        proto: the `onnx.ModelProto`.
        path: the file to write.
        own: plain values, which become JSON.
        metadata: joins them.
    """
    import onnx

    strip_traces(proto)
    onnx.helper.set_model_props(proto, {**{key: json.dumps(value) for key, value in own.items()}, **(metadata or {})})
    onnx.checker.check_model(proto, full_check=True)
    with replacing(path) as tmp:
        onnx.save_model(proto, str(tmp))
    return Path(path)


def prepared(network: nn.Module, *, opset: int = 18) -> Any:
    """A float32 copy of a detector on the CPU in eval mode, whose modules have their forms for export."""
    copied = inference_copy(network)
    gather_windows(copied)
    return rewrite(copied, opset=opset)


def _checked(input_size: Sequence[int], form: str) -> tuple[int, int, int]:
    """`input_size` as a tuple; UserError for one that no detector takes, and for an unknown form."""
    if form not in FORMS:
        raise UserError(f"form = {form!r}: must be one of {', '.join(FORMS)}")
    size = tuple(input_size)
    if len(size) != 3 or size[0] != 3 or any(not isinstance(n, int) or n < 32 or n % 32 for n in size[1:]):
        raise UserError(
            f"input_size = {size}: must be (3, height, width), both multiples of 32; for example (3, 800, 1344)"
        )
    return size


def traced(
    graph: DetectorGraph,
    size: tuple[int, int, int],
    *,
    opset: int,
    batch: int = 1,
    dynamic_shapes: tuple[Any, ...] | None = None,
) -> Any:
    """The `onnx.ModelProto` of `graph`, with the exporter's traces; UserError when torch cannot trace it.

    Args:
        graph: of a detector.
        size: (3, h, w) of the example that it is traced with.
        opset: of ONNX.
        batch: number of images.
        dynamic_shapes: as in `trace_onnx`.
    """
    examples = (
        torch.randn(batch, *size, generator=torch.Generator().manual_seed(0)),
        torch.tensor([[*map(float, size[1:])]] * batch),
    )
    return trace_onnx(
        graph,
        examples,
        opset=opset,
        inputs=INPUTS,
        outputs=OUTPUTS[: 4 if graph.mask_heads else 3],
        dynamic_shapes=dynamic_shapes,
        refusal=lambda reason: (
            f"network: cannot be exported to ONNX ({reason}); its backbone, neck and heads must be traceable by "
            "torch.export; choose others"
        ),
    )


def maps_in(proto: Any) -> list[str]:
    """The tensors that leave backbone and neck in the graph of `traced`, in its order.

    A node without traces, which the exporter's optimiser made, belongs to what its inputs belong to.
    """
    modules, made, outside = modules_of(proto), dict[str, None](), set[str]()
    weights = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        read = set(node.input) - weights
        follows = bool(read) and read <= made.keys()
        if modules[node.output[0]].startswith(MAPPING) if node.metadata_props else follows:
            made |= dict.fromkeys(node.output)
        else:
            outside |= read
    return [name for name in made if name in outside]


def described(
    network: nn.Module,
    graph: DetectorGraph,
    size: tuple[int, int, int],
    *,
    form: str,
    scale: Sequence[int] | None,
    exif: bool,
) -> dict[str, dict[str, Any]]:
    """What the file of `network` tells of itself, by name of the entry.

    Args:
        network: of MMDetection.
        graph: what is exported of it.
        size: (3, h, w) that it takes.
        form, scale, exif: as in `export_detector`.
    """
    settings = {**_settings(graph, form), "weights_sha256": _sha256(network)}
    return {"preprocessing": {**preprocessing_of(network, size, scale), "exif": exif}, "detector": settings}


def preprocessing_of(network: Any, size: Sequence[int], scale: Sequence[int] | None) -> dict[str, Any]:
    """How an image as OpenCV reads it (uint8, BGR) becomes `images`."""
    found = network.data_preprocessor
    order = "RGB" if found._channel_conversion else "BGR"
    mean, std = (getattr(found, name, None) for name in ("mean", "std"))
    return {
        "input_size": list(size),
        "scale": scale and [min(scale[0], max(size[1:])), min(scale[1], min(size[1:]))],
        "resize": "within scale (long, short) and input_size, bilinear, aspect ratio kept, upper left",
        "channel_order": order,
        "mean": [0.0] * 3 if mean is None else mean.flatten().tolist(),
        "std": [1.0] * 3 if std is None else std.flatten().tolist(),
        "pad_value": float(found.pad_value),
    }


def _settings(graph: DetectorGraph, form: str) -> dict[str, Any]:
    """What whoever runs the file, or compares it, has to know."""
    cfg = graph.box_cfg
    return {
        "form": form,
        "max_detections": graph.max_detections,
        "candidates": graph.candidates,
        "score_threshold": cfg.get("score_thr", 0),
        "mask_threshold": cfg.get("mask_thr_binary", 0.5) if graph.mask_heads else None,
        "fixed_sampling": FIXED_RATIO if _substitutes(graph, form) else None,
    }


def _sha256(network: nn.Module) -> str:
    """Hex SHA-256 of a network's weights: that of the file for the other orientation is the same."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _substitutes(graph: DetectorGraph, form: str) -> bool:
    """Whether RoIs that the config samples adaptively are sampled at a fixed ratio."""
    return form == "plugin-free" and any(pooling.ratio == 0 for pooling in (*graph.box_pooling, *graph.mask_pooling))
