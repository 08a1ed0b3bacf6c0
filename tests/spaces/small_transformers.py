"""Small Swins and ViTs of every kind, with random weights, plans and widths."""

import torch
from torch import nn

from compress.plan import WidthPlan
from compress.spaces import (
    SwinSpace,
    VitSpace,
    sizes,
)

SWIN_T = "swin_tiny_patch4_window7_224"
SHALLOW = {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2), "drop_path_rate": 0.3}
# 36 pixels are 9 x 9 patches, then 5 x 5: windows of 4 need padding in both stages, and so does the merging.
PADDED = SwinSpace(num_classes=5, model=SWIN_T, input_size=36, options=SHALLOW)
SPACES = {
    "swin": PADDED,
    "swin-vtp": SwinSpace(num_classes=5, model=SWIN_T, input_size=36, options=SHALLOW, scored="vtp"),
    "vit": VitSpace(5, "vit_small_patch16_224", input_size=32, options={"depth": 2, "patch_size": 8}),
    "vit-vtp": VitSpace(5, "deit_tiny_patch16_224", input_size=32, options={"depth": 2}, scored="vtp"),
    "distilled": VitSpace(5, "deit_tiny_distilled_patch16_224", input_size=32, options={"depth": 2}),
}


def images(space, n=2):
    generator = torch.Generator().manual_seed(9)
    return torch.randn(n, space.in_channels, space.input_size, space.input_size, generator=generator)


def network_of(space, seed=0):
    """Random values everywhere, so that no bias, norm, token or position table is at its neutral start."""
    torch.manual_seed(seed)
    model = space.build().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def plan_of(space, share=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    full = sizes(space.groups)
    picked = {name: torch.randperm(n, generator=generator)[: max(1, int(n * share))] for name, n in full.items()}
    return WidthPlan(space.name, full, {name: tuple(sorted(kept.tolist())) for name, kept in picked.items()})


def pruned(space, ratio):
    """`space` with every group at round(size * (1 - ratio))."""
    return space.with_widths({name: round(n * (1 - ratio)) for name, n in sizes(space.groups).items()})
