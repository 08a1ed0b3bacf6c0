"""What a device would send back, for examples: a kit with its times, and what an engine tells of its layers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
from onnx import TensorProto, helper

from compress.measure.designs import allowed_widths, sample_designs
from compress.plan import sha256, write_json
from compress.spaces import sizes

LAYER = "conv1 + relu"
REGIONS = {LAYER: "conv1"}


def write_kit(folder: Path, space: Any, size: tuple[int, int, int]) -> None:
    """kit/manifest.json and kit/measured.json of ten networks, without the networks."""
    designs = sample_designs(allowed_widths(space.groups, 8), 10, seed=0)
    key = {"dtype": "float32", "batch": 1, "input_size": list(size), "space": space.name, "arch": space.arch}
    networks = [{"name": f"n{i:03}", "widths": widths} for i, widths in enumerate(designs)]
    manifest = {"format": 1, "kind": "table", "key": {**key, "versions": {"torch": "2"}}, "multiple": 8, "seed": 0}
    manifest |= {"input": [1, *size], "sizes": sizes(space.groups), "networks": networks, "files": {}}
    (folder / "kit").mkdir()
    write_json(folder / "kit/manifest.json", manifest)
    full = sum(sizes(space.groups).values())
    times = {
        each["name"]: {
            "network": [0.2 + sum(each["widths"].values()) / full] * 4,
            "unpruned": [1.2] * 4,
            "reference_ms": 1.0,
        }
        for each in networks
    }
    measured = {"format": 1, "kit": sha256(folder / "kit/manifest.json"), "backend": "onnxruntime", "provider": ""}
    measured |= {"device": "a board", "processor": "its processor", "versions": {"onnxruntime": "1"}, "threads": 1}
    write_json(folder / "kit/measured.json", {**measured, "rounds": 4, "date": "today", "times": times})


def write_engine_files(folder: Path) -> None:
    """A network of one convolution, and the files that trtexec writes of its engine."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [1.0])
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["conv1#0.0"], "conv1#0"),
        helper.make_node("Relu", ["conv1#0.0"], ["logits"], "conv1#1"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 4, 4]) for name in ("images", "logits")]
    graph = helper.make_graph(nodes, "one", ends[:1], ends[1:], [weight])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "design.onnx"
    )
    told = "\x1f".join(f"[ONNX Layer: conv1#{i}]" for i in (0, 1))
    layer = {"Name": LAYER, "LayerType": "Convolution", "Inputs": [], "Outputs": [], "Metadata": told}
    write_json(folder / "layers.json", {"Layers": [layer]})
    write_json(folder / "profile.json", [{"count": 20}, {"name": LAYER, "averageMs": 0.03}])
    write_json(folder / "times.json", [{"computeMs": ms} for ms in (0.81, 0.8)])


def engine() -> Any:
    """One that has been called 20 times."""
    timer = SimpleNamespace(calls_ms=[{LAYER: 0.03}] * 20)
    return SimpleNamespace(device="cpu", layer_timer=lambda images: timer)
