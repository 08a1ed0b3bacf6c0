"""The same functions as faster graphs: what stands in a copy of a network while it is exported.

timm's Swin shifts, pads and cuts a feature map into windows, and back, by about fifteen nodes a block, each of which
copies the map; all of it is one permutation of tokens, here one Gather there and one back. The bias of relative
positions is stored instead of looked up, and meets the mask of shifted windows before the logits do, where an engine
can add the two once. GELU is written in the order of factors that ONNX Runtime recognises and runs as one node.
"""

from __future__ import annotations

import math
import sys
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ErfGelu(nn.Module):
    """x/2 (1 + erf(x / sqrt 2)), the exact GELU, for operator sets that have no node for it (before 20)."""

    def forward(self, x: Tensor) -> Tensor:
        """GELU of every element."""
        return (0.5 * x) * (1 + torch.erf(x / math.sqrt(2)))


def rewrite(network: nn.Module, *, opset: int) -> nn.Module:
    """Give modules of `network`, in eval mode, their forms for export, in place; outputs stay equal up to rounding.

    Only timm's own classes are touched: a block of another class, of masks that depend on the image's size, or whose
    attention is a subclass keeps its forward.

    Example::

        proto = torch.onnx.export(rewrite(inference_copy(model), opset=18), images, dynamo=True).model_proto
    """
    for name, module in list(network.named_modules()):
        if type(module) is nn.GELU and module.approximate == "none" and opset < 20:
            network.set_submodule(name, ErfGelu())
    swin: Any = sys.modules.get("timm.models.swin_transformer")  # imported by whoever built a Swin
    for module in network.modules() if swin else ():
        if type(module) is not swin.SwinTransformerBlock or type(module.attn) is not swin.WindowAttention:
            continue
        if not module.dynamic_mask:
            _rewrite_block(module, swin.window_partition)
    return network


def _rewrite_block(block: Any, window_partition: Any) -> None:
    """Replace the forwards of a SwinTransformerBlock and its WindowAttention."""
    (height, width), window = block.input_resolution, block.window_size
    pad_h, pad_w = -height % window[0], -width % window[1]
    tokens = torch.arange(height * width).reshape(1, height, width, 1)
    tokens = tokens.roll([-shift for shift in block.shift_size], (1, 2))
    tokens = F.pad(tokens, (0, 0, 0, pad_w, 0, pad_h), value=height * width)  # one zero token serves all padding
    order = window_partition(tokens, window).flatten()
    back = torch.empty(height * width + 1, dtype=torch.long)
    back[order] = torch.arange(len(order))
    block.register_buffer("window_order", order)
    block.register_buffer("window_back", back[:-1])
    attention = block.attn
    attention.register_buffer("bias_1HNN", attention._get_rel_pos_bias().detach())
    mask = block.attn_mask
    attention.register_buffer("mask_W1NN", None if mask is None else mask.unsqueeze(1))
    block.forward = MethodType(_block_forward, block)
    attention.forward = MethodType(_attention_forward, attention)


def _block_forward(self: Any, x_BHWC: Tensor) -> Tensor:
    x_BLC = x_BHWC.flatten(1, 2)
    windows = self.norm1(x_BLC)
    if len(self.window_order) > len(self.window_back):
        windows = F.pad(windows, (0, 0, 0, 1))
    windows = self.attn(windows.index_select(1, self.window_order))
    x_BLC = x_BLC + windows.index_select(1, self.window_back)
    x_BLC = x_BLC + self.mlp(self.norm2(x_BLC))
    return x_BLC.unflatten(1, self.input_resolution)


def _attention_forward(self: Any, x_BTC: Tensor) -> Tensor:
    """Attention within windows: T tokens are W windows of N, one window after the other."""
    batch, heads, area = x_BTC.shape[0], self.num_heads, self.window_area
    head_dim = self.qkv.out_features // (3 * heads)
    q, k, v = self.qkv(x_BTC).reshape(-1, area, 3, heads, head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    scale = head_dim**-0.5 if self.fused_attn else self.scale
    logits = (q * scale) @ k.transpose(-2, -1)
    if self.mask_W1NN is None:
        logits = logits + self.bias_1HNN
    else:
        shape = (-1, len(self.mask_W1NN), heads, area, area)
        logits = (logits.reshape(shape) + (self.bias_1HNN + self.mask_W1NN)).reshape(-1, heads, area, area)
    x = logits.softmax(-1) @ v
    return self.proj(x.transpose(1, 2).reshape(batch, -1, heads * head_dim))
