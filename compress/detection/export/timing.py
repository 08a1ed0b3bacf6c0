"""A whole detector as a classifier is timed: one image in, one vector out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .convert import graph_class, prepared
from .supported import box_settings, usual_candidates

UNSEEN = 1e-30
"""Factor of what must be computed and must not be compared: order and number of detections hang on rounding."""


class TimedDetector(nn.Module):
    """What an exported file of `detector` computes, for an image of `input_size` (C, H, W) without padding.

    Its layers have the detector's names. The output, [1, N], is the mean of every channel of the neck's maps, and last
    the sum of all that is detected, made too small to be seen: so it tells whether two detectors compute the same, and
    an engine can leave nothing out. Heads read the same maps whatever the backbone computes, to which its own are added
    that small: how long suppression takes depends on the boxes, and must not differ between networks by chance.
    """

    image_size: Tensor

    def __init__(self, detector: Any, input_size: tuple[int, int, int]) -> None:
        super().__init__()
        network = prepared(detector)
        for name, module in network.named_children():
            self.add_module(name, module)
        graph = graph_class(network)(
            network,
            input_size=input_size,
            form="onnxruntime",
            max_detections=box_settings(network).max_per_img,
            candidates=usual_candidates(network),
        )
        self._graphs = [graph.eval()]  # in a list, so that layers are registered once
        generator = torch.Generator().manual_seed(0)
        for i, shape in enumerate(graph.shapes):
            self.register_buffer(f"map_{i}", torch.randn(shape, generator=generator), persistent=False)
        self.register_buffer("image_size", torch.tensor([[float(n) for n in input_size[1:]]]), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """images [1, C, H, W] -> [1, N]."""
        (graph,) = self._graphs
        maps = graph.network.extract_feat(images)
        seen = torch.cat([level.mean((2, 3)) for level in maps], 1)
        fixed = [getattr(self, f"map_{i}") + UNSEEN * level for i, level in enumerate(maps)]
        total = torch.stack([values.float().sum() for values in graph.found(fixed, self.image_size)]).sum()
        return torch.cat([seen, (total * UNSEEN).reshape(1, 1)], 1)
