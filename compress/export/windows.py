"""timm's Swin as a faster graph of the same function: tokens stay rows of a matrix, and stay where their windows are.

timm shifts, pads and cuts a feature map into windows, and back, in every block, by about fifteen nodes, each of which
copies the map. Here tokens are [B * T, C], one window after the other, from a block's norm to its sum; on the way to
the next block one Gather brings them into that one's order. A product of two matrices and its bias run as one node of
ONNX Runtime, where a product of a stack of matrices leaves its bias to another. The bias of relative positions is
stored instead of looked up, and meets the mask of shifted windows before the logits do, where an engine can add the two
once.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spaces.partial_blocks import WithoutAttention


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
    qkv_TC: Tensor, *, heads: int, area: int, scale: float, bias_1HNN: Tensor, mask_W1NN: Tensor | None
) -> Tensor:
    """What attention within windows reads from its values, [T, C / 3]; the T tokens of a batch are windows of N.

    Args:
        qkv_TC: queries, keys and values, one window after the other.
        heads: their number.
        area: N.
        scale: of the logits.
        bias_1HNN: added to the logits of every window.
        mask_W1NN: added to those of each one of an image's W; None: nothing.
    """
    head_dim = qkv_TC.shape[1] // (3 * heads)
    windows = (-1,) if mask_W1NN is None else (-1, mask_W1NN.shape[0])
    added = bias_1HNN if mask_W1NN is None else bias_1HNN + mask_W1NN
    q, k, v = qkv_TC.reshape(*windows, area, 3 * heads, head_dim).transpose(-3, -2).split(heads, -3)
    weights = ((q * scale) @ k.transpose(-2, -1) + added).softmax(-1)
    return (weights @ v).transpose(-3, -2).reshape(-1, heads * head_dim)


def into_windows(tokens_BLC: Tensor, order: Tensor) -> Tensor:
    """Tokens of a map in the `order` of its windows; one token of zeros serves all padding."""
    if len(order) > tokens_BLC.shape[1]:
        tokens_BLC = F.pad(tokens_BLC, (0, 0, 0, 1))
    return tokens_BLC.index_select(1, order)


def as_product(linear: nn.Linear) -> None:
    """Have a linear layer multiply matrices and then add: the exporter would write a Gemm, of which integer kernels
    want neither the bias nor the transposed weight."""
    linear.forward = MethodType(_product, linear)  # type: ignore[method-assign]


def _product(self: nn.Linear, x_TC: Tensor) -> Tensor:
    product = x_TC @ self.weight.mT
    return product if self.bias is None else product + self.bias


def rewrite_stages(network: nn.Module, swin: Any) -> None:
    """Replace the forwards of timm's Swin stages in `network`, in place.

    A stage of which a block is of another class than timm's own, or has masks that depend on the image's size, or whose
    attention is a subclass keeps its own.

    `network` is in eval mode, `swin` timm's module of Swin.
    """
    stages: list[Any] = [module for module in network.modules() if type(module) is swin.SwinTransformerStage]
    for stage in stages:
        attending = [block for block in stage.blocks if type(block) is not WithoutAttention]
        if all(
            type(block) is swin.SwinTransformerBlock
            and type(block.attn) is swin.WindowAttention
            and not block.dynamic_mask
            for block in attending
        ):
            _rewrite_stage(stage, attending)


def _rewrite_stage(stage: Any, attending: list[Any]) -> None:
    """Lay out the order of tokens in every one of the `attending` blocks, and between them."""
    if not attending:
        return
    resolution = attending[0].input_resolution
    map_order = now = torch.arange(resolution[0] * resolution[1])
    for block in attending:
        order, back = window_order(resolution, block.window_size, block.shift_size, padded_first=False)
        # Padding has no place between blocks: tokens go into its windows and come back around attention alone.
        padded = len(order) > len(now)
        wanted = map_order if padded else order
        _buffers(block, move=_moves(now, wanted), order=order if padded else None, back=back if padded else None)
        now = wanted
        _rewrite_block(block)
    _buffers(stage, move=_moves(now, map_order))
    stage.resolution = tuple(resolution)
    stage.forward = MethodType(_stage_forward, stage)


def _moves(now: Tensor, wanted: Tensor) -> Tensor | None:
    """Where tokens in the order `now` are taken from to be in the order `wanted`, [T]; None where they are."""
    return None if torch.equal(now, wanted) else torch.argsort(now)[wanted]


def _buffers(module: nn.Module, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        module.register_buffer(f"window_{name}", tensor, persistent=False)


def _rewrite_block(block: Any) -> None:
    """Replace the forwards of a SwinTransformerBlock, its WindowAttention, and the linear layers of both."""
    attention = block.attn
    attention.register_buffer("bias_1HNN", attention._get_rel_pos_bias().detach(), persistent=False)
    mask = block.attn_mask
    attention.register_buffer("mask_W1NN", None if mask is None else mask.unsqueeze(1), persistent=False)
    for layer in block.modules():
        if type(layer) is nn.Linear:
            as_product(layer)
    block.forward = MethodType(_block_forward, block)
    attention.forward = MethodType(_attention_forward, attention)


def _stage_forward(self: Any, x_BHWC: Tensor) -> Tensor:
    x_TC = self.blocks(self.downsample(x_BHWC).flatten(0, 2))
    x_TC = _moved(x_TC, self.window_move)
    return x_TC.unflatten(0, (-1, *self.resolution))


def _block_forward(self: Any, x_TC: Tensor) -> Tensor:
    """The tokens of all images [B * T, C] in the order of the block before -> in this one's."""
    x_TC = _moved(x_TC, self.window_move)
    y_TC = self.norm1(x_TC)
    if self.window_order is None:
        x_TC = x_TC + self.attn(y_TC)
    else:
        windows_BTC = into_windows(y_TC.unflatten(0, (-1, len(self.window_back))), self.window_order)
        inside_BTC = self.attn(windows_BTC.flatten(0, 1)).unflatten(0, (-1, len(self.window_order)))
        x_TC = x_TC + inside_BTC.index_select(1, self.window_back).flatten(0, 1)
    return x_TC + self.mlp(self.norm2(x_TC))


def _moved(x_TC: Tensor, move: Tensor | None) -> Tensor:
    """The tokens of every image, moved alike."""
    return x_TC if move is None else x_TC.unflatten(0, (-1, len(move))).index_select(1, move).flatten(0, 1)


def _attention_forward(self: Any, x_TC: Tensor) -> Tensor:
    qkv = self.qkv(x_TC)
    scale = (qkv.shape[-1] // (3 * self.num_heads)) ** -0.5 if self.fused_attn else self.scale
    options = {"scale": scale, "bias_1HNN": self.bias_1HNN, "mask_W1NN": self.mask_W1NN}
    return self.proj(attend(qkv, heads=self.num_heads, area=self.window_area, **options))
