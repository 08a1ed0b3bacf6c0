"""A detector as an ONNX file that takes images of any size, padded as MMDetection pads them: for ONNX Runtime.

What hangs on the size (windows, masks, anchors) is computed in the graph. All that follows the RPN's choice of the best
boxes has fixed shapes, as in files of one size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...export.onnx_file import HARD_MASK, check_opset, inference_copy
from ...export.rewriting import rewrite
from ...plan import UserError
from ..sizes import STEP
from ..swin import MaskedShiftWindowMSA
from .boxes import decode
from .convert import described, traced, write
from .graph import DetectorGraph, rows_of
from .supported import CANDIDATES, check_detector, check_sizes
from .windows import gather_windows

EXAMPLE = (3, 7 * STEP, 9 * STEP)
"""Size that the graph is traced with: no two axes of a map are equal, or multiples of windows."""

LARGEST = 128
"""Of a side in steps: 4096 pixels."""


def export_any_size(
    network: Any,
    path: str | Path,
    *,
    scale: Sequence[int] | None = None,
    exif: bool = True,
    opset: int = 18,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write `network` as `export_detector` does, in the form for ONNX Runtime, for images of any multiples of 32.

    `images` is float32 [1, 3, H, W]: padded to the next multiples of 32, an image of either orientation gives what
    MMDetection finds. UserError for backbones other than Swin, and as `export_detector` has it.

    Args:
        network: a detector of MMDetection with two stages.
        path: the file to write.
        scale: (long, short), the sides within which images are scaled; for the file's entry `preprocessing`.
        exif: whether images are turned as their EXIF orientation says, likewise.
        opset: of ONNX.
        metadata: as in `export_detector`.

    Example::

        export_any_size(network, "detector.onnx", scale=(1333, 800))
    """
    check_opset(opset)
    check_detector(network)
    copied = free(network, opset=opset)
    count = copied.roi_head.test_cfg.max_per_img
    check_sizes(copied, count, CANDIDATES, form="onnxruntime")
    sizes: dict[str, Any] = {"form": "onnxruntime", "max_detections": count, "candidates": CANDIDATES}
    graph = AnySizeGraph(copied, input_size=EXAMPLE, **sizes).eval()
    height, width = (STEP * torch.export.Dim(name, min=2, max=LARGEST) for name in ("rows", "columns"))
    proto = traced(graph, EXAMPLE, opset=opset, dynamic_shapes=({2: height, 3: width}, None))
    entries = described(network, graph, EXAMPLE, form="onnxruntime", scale=scale, exif=exif)
    entries["preprocessing"] |= {"input_size": None, "size_divisor": STEP, "scale": scale and list(scale)}
    return write(proto, path, entries, metadata)


def free(network: Any, *, opset: int = 18) -> Any:
    """A float32 copy of a detector on the CPU in eval mode, whose modules take maps of any size when it is exported."""
    copied: Any = inference_copy(network)
    backbone = copied.backbone
    strides = [module.sampler.stride[0] for module in backbone.modules() if hasattr(module, "sampler")]
    patch = getattr(getattr(backbone, "patch_embed", None), "projection", None)
    two_stages = getattr(network, "with_roi_head", False)
    if (
        not two_stages
        or patch is None
        or STEP % math.prod([patch.stride[0], *strides])
        or getattr(backbone, "use_abs_pos_embed", False)
    ):
        raise UserError(
            "network: only detectors with two stages and a Swin whose maps halve, without a table of absolute "
            "positions, are exported for images of any size; give an input size"
        )
    gather_windows(copied, FreeShiftWindowMSA)
    for module in copied.modules():
        if getattr(module, "adap_padding", None) is not None:
            module.adap_padding = None  # sides are multiples of all strides
    return rewrite(copied, opset=opset)


class FreeShiftWindowMSA(MaskedShiftWindowMSA):
    """Shifted-window attention in eval mode on one image's map of any size: one Gather into the windows, one back."""

    apart = HARD_MASK

    def forward(self, query: Tensor, hw_shape: Sequence[int]) -> Tensor:
        """Tokens [1, H * W, C] of a map of `hw_shape` (H, W) -> the same shape."""
        size, (height, width) = self.window_size, hw_shape
        (y, down, in_rows, row_part), (x, along, in_columns, column_part) = (
            _windows_of(side, size, self.shift_size) for side in (height, width)
        )
        y, x = y[:, None, :, None], x[None, :, None, :]
        order = torch.where((y < height) & (x < width), y * width + x, height * width).reshape(-1)
        places = (down[:, None] * ((width + size - 1) // size) + along) * size + in_rows[:, None]
        back = (places * size + in_columns).reshape(-1)
        mask = None
        if self.shift_size > 0:
            part = (3 * row_part[:, None, :, None] + column_part[None, :, None, :]).reshape(-1, size**2)
            mask = (part.unsqueeze(1) != part.unsqueeze(2)).to(query.dtype).mul(self.apart).unsqueeze(1)
        windows = F.pad(query, (0, 0, 0, 1)).index_select(1, order)
        return self.w_msa(windows, mask).index_select(1, back)


def _windows_of(side: int, size: int, shift: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of an axis of `side` tokens: the token at each place of each window [n, size], from `side` on padding; the window
    and the place in it of each token, [side] both; and the region of the shifted map that each place is in, [n, size].
    """
    count = (side + size - 1) // size
    padded = count * size
    at, own = torch.arange(padded), torch.arange(side)
    token = torch.where(at < padded - shift, at + shift, at + shift - padded)
    place = torch.where(own < shift, own + padded - shift, own - shift)
    region = (at >= padded - size).long() + (at >= padded - shift).long()
    return token.reshape(count, size), place // size, place % size, region.reshape(count, size)


class AnySizeGraph(DetectorGraph):
    """A DetectorGraph for one image of any size: every level is filled up to `nms_pre` boxes that are none."""

    def _propose(self, maps: Sequence[Tensor], image_size: Tensor) -> tuple[Tensor, Tensor]:
        head, cfg = self.network.rpn_head, self.rpn_cfg
        sizes = [level.shape[-2:] for level in maps]
        boxes, scores = [], []
        for anchors_A4, (logits, deltas) in zip(
            head.prior_generator.grid_priors(sizes, device="cpu"), zip(*head(maps), strict=True), strict=True
        ):
            scores_1A = rows_of(logits, 1).reshape(1, -1).sigmoid()
            best_1N, order_1N = F.pad(scores_1A, (0, cfg.nms_pre), value=-1.0).topk(cfg.nms_pre)
            rows = (anchors_A4, rows_of(deltas, 4))
            anchors_N4, deltas_N4 = (F.pad(each, (0, 0, 0, cfg.nms_pre)).index_select(0, order_1N[0]) for each in rows)
            boxes.append(decode(anchors_N4, deltas_N4, head.bbox_coder, image_size))
            scores.append(best_1N[0])
        return self._best(torch.stack(boxes), torch.stack(scores))
