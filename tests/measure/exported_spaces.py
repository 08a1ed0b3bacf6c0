"""Small spaces of every family, and the graphs of their networks, exported once per session."""

from __future__ import annotations

from functools import lru_cache

from compress.measure.graphs import WidthGraphs
from compress.measure.networks import timing_network
from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace, VitSpace

SHALLOW = {"window_size": 4, "embed_dim": 24, "depths": (2, 1), "num_heads": (1, 2)}

SHALLOWER = {**SHALLOW, "depths": (1, 1)}

DEIT = {"depth": 2, "patch_size": 8}

SPACES = {
    "preresnet": (PreResNetSpace(11, 5), 16),
    "preresnet-inputs": (PreResNetSpace(20, 5, score_inputs=True), 16),
    "mobilenetv2-outputs": (MobileNetV2Space(5, 0.35, score_outputs=True), 32),
    # 36 pixels are 9 x 9 patches, which windows of 4 do not divide: padding and masks are in the graph.
    "swin": (SwinSpace(5, "swin_tiny_patch4_window7_224", input_size=36, options=SHALLOW), 36),
    "swin-vtp": (SwinSpace(5, "swin_tiny_patch4_window7_224", input_size=36, options=SHALLOWER, scored="vtp"), 36),
    "vit": (VitSpace(5, "deit_tiny_patch16_224", input_size=32, options=DEIT), 32),
}


@lru_cache
def made(name):
    """The space, its image size, a network, and the graphs of it; exported once per session."""
    space, side = SPACES[name]
    model = timing_network(space, (3, side, side))
    return space, (3, side, side), model, WidthGraphs(model, space, input_size=(3, side, side))
