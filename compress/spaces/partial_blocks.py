"""Transformers' blocks without attention, MLP, or both: what is left of a branch is the constant that it adds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .groups import Group, Rest

BRANCHES = {"attn": ("norm1", "proj", "ls1"), "mlp": ("norm2", "fc2", "ls2")}
"""Branch of timm's blocks -> the norm in front of it, its last layer, and the scale behind it."""


class Constant(nn.Module):
    """What is left of a branch whose channels are all gone: its `bias` [C], whatever it is given."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """The bias, which the shortcut is added to."""
        return self.bias


class WithoutAttention(nn.Module):
    """A block of timm's Swin or ViT whose attention has left a constant: [..., C] -> [..., C]; layers keep names."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.attn = Constant(block.attn.proj.out_features)
        self.norm2, self.mlp, self.drop_path2 = block.norm2, block.mlp, block.drop_path2
        self.ls2 = getattr(block, "ls2", nn.Identity())

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Nothing attends, so masks change nothing."""
        if isinstance(self.mlp, Constant):
            return x + (self.attn.bias + self.mlp.bias)
        x = x + self.attn.bias
        total: Tensor = x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
        return total


def removable(group: Group, name: str, block: Any) -> Group:
    """`group` of the branch `attn` or `mlp` of timm's block called `name`, with what is left when the branch goes.

    Blocks of other classes than timm's plain ones, and branches without a bias, keep theirs.
    """
    from timm.models.swin_transformer import SwinTransformerBlock
    from timm.models.vision_transformer import Block

    branch = group.name.rpartition(".")[2]
    norm, last, scale = BRANCHES[branch]
    if type(block) not in (SwinTransformerBlock, Block) or getattr(getattr(block, branch), last).bias is None:
        return group
    scaled = (scale,) if hasattr(getattr(block, scale, None), "gamma") else ()
    modules, made = (norm, branch, *scaled), (f"{branch}.{last}", *scaled)
    modules, made = (tuple(f"{name}.{each}" for each in names) for names in (modules, made))
    return replace(group, rest=Rest(group.name, modules, made, f"{group.name}.bias"))


def take_out(model: nn.Module, branch: str) -> None:
    """Leave a constant, of zeros, of the `branch` of a block of timm's `model`, in place: "layers.0.blocks.1.mlp"."""
    name, _, kind = branch.rpartition(".")
    block: Any = model.get_submodule(name)
    if kind == "attn":
        model.set_submodule(name, WithoutAttention(block))
        return
    block.mlp = Constant(block.mlp.fc2.out_features)
    # Dropped paths are those of features: a constant is there for every image.
    for part in ("norm2", "ls2", "drop_path2"):
        if hasattr(block, part):
            setattr(block, part, nn.Identity())
