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
            _rewrite_block(module)
    return network


def window_order(
    resolution: tuple[int, int], window: tuple[int, int], shift: tuple[int, int], *, padded_first: bool
) -> tuple[Tensor, Tensor]:
    """The tokens of a map in the order of its shifted windows, int64 [T], and where in it each of them stands [H * W].

    T is H * W and what the windows reach beyond the map; H * W stands for a token of padding.

    Args:
        resolution: (H, W) of the map.
        window: height and width of a window.
        shift: by how much the map is rolled upwards and to the left.
        padded_first: the map is rolled with its padding, which is at its right and lower sides before.
    """
    (height, width), (high, wide) = resolution, window
    padding, back_by = (0, -width % wide, 0, -height % high), [-n for n in shift]
    tokens = torch.arange(height * width).reshape(1, height, width)
    if padded_first:
        tokens = F.pad(tokens, padding, value=height * width).roll(back_by, (1, 2))
    else:
        tokens = F.pad(tokens.roll(back_by, (1, 2)), padding, value=height * width)
    order = tokens.reshape(-(-height // high), high, -(-width // wide), wide).transpose(1, 2).flatten()
    back = torch.empty(height * width + 1, dtype=torch.long)
    back[order] = torch.arange(len(order))
    return order, back[:-1]


def attend(
    qkv_BTC: Tensor, *, heads: int, area: int, scale: float, bias_1HNN: Tensor, mask_W1NN: Tensor | None
) -> Tensor:
    """What attention within windows reads from its values, [B, T, C / 3]; T tokens are W windows of N.

    Args:
        qkv_BTC: queries, keys and values, one window after the other.
        heads: their number.
        area: N.
        scale: of the logits.
        bias_1HNN: added to the logits of every window.
        mask_W1NN: added to those of each one; None: nothing.
    """
    batch, _, columns = qkv_BTC.shape
    head_dim = columns // (3 * heads)
    q, k, v = qkv_BTC.reshape(-1, area, 3, heads, head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    logits = (q * scale) @ k.transpose(-2, -1)
    if mask_W1NN is None:
        logits = logits + bias_1HNN
    else:
        shape = (-1, mask_W1NN.shape[0], heads, area, area)
        logits = (logits.reshape(shape) + (bias_1HNN + mask_W1NN)).reshape(-1, heads, area, area)
    return (logits.softmax(-1) @ v).transpose(1, 2).reshape(batch, -1, heads * head_dim)


def into_windows(tokens_BLC: Tensor, order: Tensor) -> Tensor:
    """Tokens of a map in the `order` of its windows; one token of zeros serves all padding."""
    if len(order) > tokens_BLC.shape[1]:
        tokens_BLC = F.pad(tokens_BLC, (0, 0, 0, 1))
    return tokens_BLC.index_select(1, order)


def _rewrite_block(block: Any) -> None:
    """Replace the forwards of a SwinTransformerBlock and its WindowAttention."""
    order, back = window_order(block.input_resolution, block.window_size, block.shift_size, padded_first=False)
    block.register_buffer("window_order", order)
    block.register_buffer("window_back", back)
    attention = block.attn
    attention.register_buffer("bias_1HNN", attention._get_rel_pos_bias().detach())
    mask = block.attn_mask
    attention.register_buffer("mask_W1NN", None if mask is None else mask.unsqueeze(1))
    block.forward = MethodType(_block_forward, block)
    attention.forward = MethodType(_attention_forward, attention)


def _block_forward(self: Any, x_BHWC: Tensor) -> Tensor:
    x_BLC = x_BHWC.flatten(1, 2)
    windows = self.attn(into_windows(self.norm1(x_BLC), self.window_order))
    x_BLC = x_BLC + windows.index_select(1, self.window_back)
    x_BLC = x_BLC + self.mlp(self.norm2(x_BLC))
    return x_BLC.unflatten(1, self.input_resolution)


def _attention_forward(self: Any, x_BTC: Tensor) -> Tensor:
    qkv = self.qkv(x_BTC)
    scale = (qkv.shape[-1] // (3 * self.num_heads)) ** -0.5 if self.fused_attn else self.scale
    options = {"scale": scale, "bias_1HNN": self.bias_1HNN, "mask_W1NN": self.mask_W1NN}
    return self.proj(attend(qkv, heads=self.num_heads, area=self.window_area, **options))
