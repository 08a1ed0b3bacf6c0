"""MobileNetV2 (Sandler et al., arXiv 1801.04381) as timm builds it, at any width multiplier and any widths.

Scored are the expanded channels of every inverted residual: the 1x1 expansion and the depthwise convolution follow, the
gate sits at the projection. Blocks without expansion (the first) keep their width. With `score_outputs` the outputs of
each stage are scored too, one group for all blocks that add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..plan import UserError, brief
from .arguments import check_ends, check_flag, check_widths
from .base import WidthSpace
from .groups import Group, Rest, columns, rows
from .narrowing import narrow
from .operators import Operator
from .removal import within_blocks
from .shapes import weightless
from .traced import Axes, remembered, traced_operators


class Shift(nn.Module):
    """What is left of a residual block whose expanded channels are all gone: x + bias, [B, C, H, W], bias [C]."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Add the constant that the block's last BatchNorm makes of zeros."""
        return x_BCHW + self.bias.view(1, -1, 1, 1)


@dataclass(frozen=True)
class MobileNetV2Space(WidthSpace):
    """timm's MobileNetV2 with width multiplier `multiplier`; timm checkpoints load.

    `widths` holds the groups that differ from the original; a width of 0 means that the whole block, which has a
    shortcut, is gone. Raises UserError for an unknown group or a width out of range.

    Example::

        space = MobileNetV2Space(num_classes=20, multiplier=0.5)
        model = space.build()
    """

    num_classes: int
    multiplier: float = 1.0
    in_channels: int = 3
    score_outputs: bool = False
    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar[str] = "mobilenetv2"
    choices = ("score_outputs",)

    def __post_init__(self) -> None:
        number = isinstance(self.multiplier, int | float) and not isinstance(self.multiplier, bool)
        if not number or not 0.1 <= self.multiplier <= 4:
            raise UserError(f"space.multiplier = {brief(self.multiplier)}: must be from 0.1 to 4, for example 0.5")
        check_ends(self.num_classes, self.in_channels)
        check_flag("score_outputs", self.score_outputs)
        groups = _groups(self._template(), with_outputs=True)
        full = {group.name: (int(group.rest is None), group.size) for group in groups}
        check_widths(self.widths, full, network="MobileNetV2")

    @property
    def full_groups(self) -> tuple[Group, ...]:
        """The scored groups of the unpruned network."""
        return _groups(self._template(), with_outputs=self.score_outputs)

    @property
    def normalised(self) -> dict[str, str]:
        """Every projection feeds a BatchNorm; so does every expansion, which reads a stage's outputs."""
        pairs: dict[str, str] = {}
        for name, module in self._template().named_modules():
            if type(module).__name__ == "InvertedResidual":
                pairs |= {f"{name}.conv_pw": f"{name}.bn1", f"{name}.conv_pwl": f"{name}.bn3"}
        pairs["conv_head"] = "bn2"
        return {layer: norm for layer, norm in pairs.items() if not (self._removed and layer.startswith(self._removed))}

    @property
    def classifier(self) -> tuple[str, ...]:
        """The layer whose rows are the classes."""
        return ("classifier",)

    @property
    def _removed(self) -> tuple[str, ...]:
        """Prefixes of the modules of removed blocks."""
        return tuple(f"{name}." for name, width in self.widths.items() if width == 0)

    def build(self) -> nn.Module:
        """A freshly initialised network."""
        model = _timm_mobilenetv2(self.multiplier, self.num_classes, self.in_channels)
        groups = _groups(model, with_outputs=True)
        narrow(model, groups, {name: width or 1 for name, width in self.widths.items()})
        for block in self._removed:
            stage, _, index = block.rstrip(".").rpartition(".")
            channels = model.get_submodule(f"{block}bn3").num_features
            setattr(model.get_submodule(stage), index, Shift(int(channels)))  # type: ignore[arg-type]
        return model

    def empty(self) -> nn.Module:
        """A network whose weights are yet to be loaded; draws nothing from the global generator."""
        with torch.random.fork_rng(devices=[]):
            return self.build()

    @remembered
    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        """Convolutions, BatchNorms and the classifier, in forward order, for images of (C, H, W)."""
        with weightless():
            model = self.build()
        groups = self.groups
        operators, axes = within_blocks(traced_operators(model, groups, input_size), groups), Axes(groups)
        shifts = [
            Operator(name, "shift", 1, axes.width(name, 0, module.bias.shape[0])[0], macs=0, weights=0, biases=1)
            for name, module in model.named_modules()
            if isinstance(module, Shift)
        ]
        return operators + tuple(shifts)

    def _template(self) -> nn.Module:
        return _template(self.multiplier)


def _timm_mobilenetv2(multiplier: float, num_classes: int, in_channels: int) -> nn.Module:
    from timm.models import efficientnet

    make: Any = efficientnet._gen_mobilenet_v2
    model: nn.Module = make(
        "mobilenetv2_100", multiplier, pretrained=False, num_classes=num_classes, in_chans=in_channels
    )
    return model


@lru_cache(maxsize=8)
def _template(multiplier: float) -> nn.Module:
    """The unpruned network's structure, without memory for its weights."""
    with weightless():
        return _timm_mobilenetv2(multiplier, 2, 3)


def _groups(model: nn.Module, *, with_outputs: bool) -> tuple[Group, ...]:
    groups: list[Group] = []
    stages = list(model.blocks)  # type: ignore[arg-type]
    for s, stage in enumerate(stages):
        names = [f"blocks.{s}.{i}" for i in range(len(stage))]
        for name, block in zip(names, stage, strict=True):
            if hasattr(block, "conv_pwl"):
                made = rows(*(f"{name}.{part}" for part in ("conv_pw", "bn1", "conv_dw", "bn2")))
                rest = Rest(name, (name,), (f"{name}.bn3",), f"{name}.bias") if block.has_skip else None
                groups.append(Group(name, block.conv_dw.out_channels, made, columns(f"{name}.conv_pwl"), rest=rest))
        # Multipliers of 0.25 and less give the very first block a shortcut: its channels are the stem's as well.
        if with_outputs and not stage[0].has_skip:
            groups.append(_stage_outputs(s, stages, names))
    return tuple(groups)


def _stage_outputs(s: int, stages: list[Any], names: list[str]) -> Group:
    """The channels that all blocks of a stage add to, and those who read them."""
    last = ("conv_pwl", "bn3") if hasattr(stages[s][0], "conv_pwl") else ("conv_pw", "bn2")
    made = rows(*(f"{name}.{part}" for name in names for part in last))
    following = f"blocks.{s + 1}.0.conv_pw" if s + 1 < len(stages) else "conv_head"
    read = columns(*(f"{name}.conv_pw" for name in names[1:]), following)
    return Group(f"blocks.{s}.out", getattr(stages[s][0], last[0]).out_channels, made, read)
