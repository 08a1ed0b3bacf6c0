"""Checkpoints of timm's transformers in other layouts, brought to the present one by timm's own conversion.

That covers Microsoft's Swin (merging at the end of a stage, `head.weight`, buffers that are computed today), timm's own
of before 0.9, which is the same, DeiT III's layer scales, and tables of positions for other windows or images.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from .timm_arguments import FAMILIES

OPTIONS: dict[str, dict[str, Any]] = {"swin": {}, "vit": {"adapt_layer_scale": True}}
"""Space -> keyword arguments of its checkpoint_filter_fn in timm."""
BIASES = "relative_position_bias_table"
TABLES = (BIASES, "pos_embed")
PATCHES = "patch_embed.proj.weight"
"""How the names of the tensors end that timm interpolates."""
REFUSALS = (AssertionError, LookupError, ValueError, RuntimeError, TypeError, AttributeError)
"""What timm's conversion raises for tensors that make no sense to it."""


def in_timm_layout(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` under the names of `model`, for timm's Swin and ViT; any other model's state comes back as it is.

    Position tables that do not fit are interpolated for the model's window and image size, as timm does it; patches of
    another size are not. What timm cannot convert stays as it is, for the caller to refuse.
    """
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(model).__mro__}
    space = next((name for name, (base, _) in FAMILIES.items() if base in kinds), None)
    if space is None:
        return dict(state)
    convert = import_module(FAMILIES[space][0].rpartition(".")[0]).checkpoint_filter_fn
    own = model.state_dict()
    # timm looks up the block of every table of biases; one that the model lacks would end the conversion.
    foreign = {name: value for name, value in state.items() if name.endswith(BIASES) and name not in own}
    known = {name: value for name, value in state.items() if name not in foreign}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm's interpolation indexes in a way that PyTorch deprecates
            found: dict[str, Tensor] = {**convert(known, model, **OPTIONS[space]), **foreign}
    except REFUSALS:
        return dict(state)
    for name in found.keys() & state.keys() & own.keys():
        # timm takes 3 x 3 biases for those of a square window, even where the model's windows have 9 in a row.
        fits = name.endswith(TABLES) and state[name].shape == own[name].shape
        if fits or (name.endswith(PATCHES) and found[name].numel() != state[name].numel()):
            found[name] = state[name]
    return found


def interpolated(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """Names of the position tables that `in_timm_layout` interpolated between the states `before` and `after`."""
    return [name for name in after if name.endswith(TABLES) and after[name].shape != before[name].shape]
