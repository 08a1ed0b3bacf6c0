"""The same functions as faster graphs: what stands in a copy of a network while it is exported.

GELU is written in the order of factors that ONNX Runtime recognises and runs as one node; timm's Swin moves its tokens
once a block (`windows`).
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor, nn

from .windows import rewrite_stages


class ErfGelu(nn.Module):
    """x/2 (1 + erf(x / sqrt 2)), the exact GELU, for operator sets that have no node for it (before 20)."""

    def forward(self, x: Tensor) -> Tensor:
        """GELU of every element."""
        return (0.5 * x) * (1 + torch.erf(x / math.sqrt(2)))


def rewrite(network: nn.Module, *, opset: int) -> nn.Module:
    """Give modules of `network`, in eval mode, their forms for export, in place; outputs stay equal up to rounding.

    Only timm's own classes are touched: a Swin stage with a block of another class, or of masks that depend on the
    image's size, or whose attention is a subclass keeps its forward.

    Example::

        proto = torch.onnx.export(rewrite(inference_copy(model), opset=18), images, dynamo=True).model_proto
    """
    for name, module in list(network.named_modules()):
        if type(module) is nn.GELU and module.approximate == "none" and opset < 20:
            network.set_submodule(name, ErfGelu())
    swin = sys.modules.get("timm.models.swin_transformer")  # imported by whoever built a Swin
    if swin is not None:
        rewrite_stages(network, swin)
    return network
