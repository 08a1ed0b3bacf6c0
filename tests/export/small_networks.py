"""Small networks of every space, whole and pruned, for tests of engines."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from compress.export import export_onnx
from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace, VitSpace, sizes

SWIN_T = "swin_tiny_patch4_window7_224"
SHALLOW = {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}
SPACES = {
    "preresnet": (PreResNetSpace(depth=11, num_classes=10), 32),
    "mobilenetv2": (MobileNetV2Space(num_classes=10, multiplier=0.35), 32),
    # 36 pixels are 9 x 9 patches, then 5 x 5: windows of 4 need padding, and every second block shifts them.
    "swin": (SwinSpace(num_classes=5, model=SWIN_T, input_size=36, options=SHALLOW), 36),
    "vit": (VitSpace(5, "vit_small_patch16_224", input_size=32, options={"depth": 2, "patch_size": 8}), 32),
}


def network(name, *, pruned=False):
    """The network, with BatchNorm statistics of random images so that it is not degenerate, and its input's shape."""
    space, side = SPACES[name]
    if pruned:
        space = space.with_widths({group: max(1, round(0.6 * n)) for group, n in sizes(space.groups).items()})
    torch.manual_seed(0)
    model = space.build()
    model.train()
    with torch.no_grad():
        model(torch.randn(8, 3, side, side))
    return model.eval(), (3, side, side)


# Exporting takes most of the time; the large ones are tested whole by the slow tests.
CASES = [
    ("preresnet", False),
    ("preresnet", True),
    ("vit", False),
    ("vit", True),
    ("mobilenetv2", True),
    ("swin", True),
]
IDS = [name + "_pruned" * pruned for name, pruned in CASES]


@lru_cache
def onnx_bytes(name, pruned):
    """The network as an ONNX file's content; kept for the tests that follow."""
    model, size = network(name, pruned=pruned)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        return export_onnx(model, path, input_size=size, metadata={"classes": '["a"]'}).read_bytes()


def onnx_file(folder, name, *, pruned=False):
    path = folder / f"{name}.onnx"
    path.write_bytes(onnx_bytes(name, pruned))
    return path
