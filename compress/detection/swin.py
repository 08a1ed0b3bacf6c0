"""MMDetection's Swin with a width of its own in every block, so that a pruned detector is an ordinary config.

`type="SlicedSwinTransformer"` takes all arguments of MMDetection's `SwinTransformer` and the widths of its blocks.
Without them it computes what MMDetection's does, from the same state dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.backbones.swin import ShiftWindowMSA, SwinBlock, SwinTransformer, WindowMSA
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..plan import UserError
from ..spaces import Group
from ..spaces.blocks import attention_group, mlp_group
from ..spaces.narrowing import narrow

Dims = Sequence[Sequence[int]]
"""Widths of all blocks: `[stage][block]`."""


class SlicedWindowMSA(WindowMSA):
    """Window attention whose heads may have fewer dimensions than the stream has for each; MMDetection's otherwise."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens [windows * B, n, C] -> the same shape; `mask` [windows, n, n] is added to the logits."""
        batch, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        logits = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        logits = logits + bias.view(n, n, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            logits = logits.view(batch // windows, windows, self.num_heads, n, n) + mask[None, :, None]
            logits = logits.view(-1, self.num_heads, n, n)
        weights = self.attn_drop(self.softmax(logits))
        return self.proj_drop(self.proj((weights @ v).transpose(1, 2).reshape(batch, n, -1)))


class MaskedShiftWindowMSA(ShiftWindowMSA):
    """Shifted-window attention that computes its mask without assignments to slices, which ONNX would scatter."""

    apart = -100.0
    """What is added to the logits between tokens of two regions."""

    def forward(self, query: Tensor, hw_shape: Sequence[int]) -> Tensor:
        """Tokens [B, H * W, C] of a map of `hw_shape` (H, W) -> the same shape."""
        batch, _, c = query.shape
        height, width = hw_shape
        size, shift = self.window_size, self.shift_size
        right, below = (-width % size, -height % size)
        x = F.pad(query.view(batch, height, width, c), (0, 0, 0, right, 0, below))
        padded = (height + below, width + right)
        mask = None
        if shift > 0:
            x = torch.roll(x, shifts=(-shift, -shift), dims=(1, 2))
            mask = self.mask(*padded, x)
        windows = self.w_msa(self.window_partition(x).view(-1, size**2, c), mask=mask)
        x = self.window_reverse(windows.view(-1, size, size, c), *padded)
        if shift > 0:
            x = torch.roll(x, shifts=(shift, shift), dims=(1, 2))
        if right or below:
            x = x[:, :height, :width].contiguous()
        return self.drop(x.view(batch, height * width, c))

    def mask(self, height: int, width: int, like: Tensor) -> Tensor:
        """[windows, n, n]: 0 between tokens of one region of the shifted map, `apart` between those of two."""
        size, shift = self.window_size, self.shift_size
        rows, columns = (
            (torch.arange(side, device=like.device) >= side - size).to(like.dtype)
            + (torch.arange(side, device=like.device) >= side - shift).to(like.dtype)
            for side in (height, width)
        )
        regions = self.window_partition((3 * rows[:, None] + columns)[None, :, :, None]).view(-1, size**2)
        return (regions.unsqueeze(1) != regions.unsqueeze(2)).to(like.dtype) * self.apart


class RecomputedSwinBlock(SwinBlock):
    """A block whose backward pass computes it again (`with_cp`), in the way that `torch.autograd.grad` allows."""

    def forward(self, x: Tensor, hw_shape: Sequence[int]) -> Tensor:
        """Tokens [B, H * W, C] of a map of `hw_shape` (H, W) -> the same shape."""
        return checkpoint(super().forward, x, hw_shape, use_reentrant=False)


@MODELS.register_module()
class SlicedSwinTransformer(SwinTransformer):
    """MMDetection's Swin with `head_dims` dimensions in every head and `mlp_dims` hidden units, `[stage][block]` each.

    None keeps the full widths. A head of d' of d dimensions divides its logits by sqrt(d'). Raises UserError for lists
    of another shape and for widths out of range.

    Example::

        backbone = dict(type="SlicedSwinTransformer", depths=[2, 2], num_heads=[3, 6],
                        head_dims=[[24, 32], [16, 32]], mlp_dims=[[200, 384], [768, 512]])
    """

    def __init__(self, *args: Any, head_dims: Dims | None = None, mlp_dims: Dims | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        groups = swin_groups(self)
        widths = {
            **_named(head_dims, "head_dims", _by_stage(groups, "attention")),
            **_named(mlp_dims, "mlp_dims", _by_stage(groups, "mlp")),
        }
        for group in groups:
            width = widths.get(group.name, group.size)
            if type(width) is not int or not 1 <= width <= group.size:
                raise UserError(
                    f"backbone: width {width!r} for {group.name}: must be a whole number, 1 to {group.size}"
                )
        narrow(self, groups, widths)
        for module in self.modules():
            if isinstance(module, ShiftWindowMSA):
                module.__class__ = MaskedShiftWindowMSA
            elif isinstance(module, WindowMSA):
                module.__class__ = SlicedWindowMSA
            elif isinstance(module, SwinBlock) and module.with_cp:
                module.__class__, module.with_cp = RecomputedSwinBlock, False
        for group in groups:
            if group.kind == "attention" and group.name in widths and widths[group.name] < group.size:
                attention: Any = self.get_submodule(group.name)
                attention.scale *= (group.size / widths[group.name]) ** 0.5


def swin_groups(backbone: SwinTransformer) -> tuple[Group, ...]:
    """The scored groups of a Swin at its present widths: of each block a head's dimensions and the hidden units."""
    found = []
    for i, stage in enumerate(backbone.stages):
        for j, block in enumerate(stage.blocks):
            attention, mlp = f"stages.{i}.blocks.{j}.attn.w_msa", f"stages.{i}.blocks.{j}.ffn"
            heads = block.attn.w_msa.num_heads
            size = block.attn.w_msa.proj.in_features // heads
            layers = {"qkv": f"{attention}.qkv", "proj": f"{attention}.proj"}
            found.append(attention_group(attention, size, heads=heads, **layers))
            hidden = block.ffn.layers[1].in_features
            found.append(mlp_group(mlp, hidden, into=f"{mlp}.layers.0.0", out=f"{mlp}.layers.1"))
    return tuple(found)


def swin_dims(groups: Sequence[Group]) -> dict[str, list[list[int]]]:
    """`head_dims` and `mlp_dims` of a SlicedSwinTransformer whose groups have the sizes of `groups`."""
    parts = {"head_dims": "attention", "mlp_dims": "mlp"}
    return {
        name: [[group.size for group in stage] for stage in _by_stage(groups, kind)] for name, kind in parts.items()
    }


def _by_stage(groups: Sequence[Group], kind: str) -> list[list[Group]]:
    stages: dict[str, list[Group]] = {}
    for group in groups:
        if group.kind == kind:
            stages.setdefault(group.name.partition(".blocks.")[0], []).append(group)
    return list(stages.values())


def _named(dims: Dims | None, argument: str, stages: list[list[Group]]) -> dict[str, int]:
    if dims is None:
        return {}
    shape = [len(stage) for stage in stages]
    if not _is_list(dims) or [len(stage) if _is_list(stage) else None for stage in dims] != shape:
        raise UserError(f"backbone.{argument} = {dims!r}: must be one list per stage with {shape} widths; correct it")
    return {group.name: n for stage, own in zip(stages, dims, strict=True) for group, n in zip(stage, own, strict=True)}


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
