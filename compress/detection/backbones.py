"""Backbones whose widths stand in the config: MMDetection's Swin block by block, any other as its trace shows.

`type="SlicedBackbone"` takes the section of another backbone as `of` (ResNet, ResNeXt, RegNet, CSPNeXt, PVT, ...) and
the widths of its groups. Groups are what `tracing` finds inside the blocks: streams that several layers add to are left
alone, because the neck reads them, and so is what the config freezes, which could not adapt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import nn

from ..plan import UserError
from ..spaces import Group
from ..spaces.axes import resized
from ..spaces.narrowing import narrow
from ..tracing import Groups, groups_of
from .swin import SlicedSwinTransformer, swin_dims, swin_groups

SLICED = "SlicedBackbone"
SWINS = ("SwinTransformer", SlicedSwinTransformer.__name__)
TRACED_AT = (3, 64, 64)
"""Images of (C, H, W) that are traced: channels do not depend on their size."""

WITHOUT = ("init_cfg", "pretrained", "convert_weights")
"""Keys of a backbone's section that name weights, which are not loaded."""


@MODELS.register_module(SLICED)
def sliced_backbone(of: Mapping[str, Any], widths: Mapping[str, int] | None = None) -> nn.Module:
    """The backbone that the section `of` describes, with narrower layers inside.

    `widths` are those of groups, by their names with underscores for dots; groups that it does not name keep theirs.
    Raises UserError for other names, and for widths out of range.

    Example::

        backbone = dict(type="SlicedBackbone", of=dict(type="ResNet", depth=50), widths=dict(layer1_0_conv1=40))
    """
    backbone = MODELS.build(deepcopy(dict(of)))
    if widths:
        groups = traced(_as_text(of)).groups
        narrow(backbone, groups, _by_group(widths, groups))
    return backbone


def scored_section(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """The section `backbone`, without weights to load, of one that can be sliced and computes the same."""
    section = {key: value for key, value in backbone.items() if key not in WITHOUT}
    if section["type"] in SWINS:
        return {**section, "type": SlicedSwinTransformer.__name__}
    if section["type"] == SLICED:
        return section
    if "with_cp" in section:
        section["with_cp"] = False  # MMDetection recomputes in a way that `torch.autograd.grad` refuses
    return {"type": SLICED, "of": section}


def backbone_groups(section: Mapping[str, Any], backbone: Any) -> tuple[Group, ...]:
    """The scored groups of a `backbone` at the widths of its `section`.

    Raises UserError where it cannot be traced, or nothing of it can be pruned.
    """
    if section["type"] != SLICED:
        return swin_groups(backbone)
    groups = traced(_as_text(section["of"])).groups
    return resized(groups, _by_group(section.get("widths") or {}, groups))


def at_widths(section: Mapping[str, Any], widths: Mapping[str, int], groups: Iterable[Group]) -> dict[str, Any]:
    """`section` of the backbone with `groups`, at other `widths`."""
    groups = tuple(groups)
    if section["type"] != SLICED:
        return {**section, **swin_dims(groups)}
    own = {**(section.get("widths") or {}), **{_label(name): width for name, width in widths.items()}}
    return {**section, "widths": own}


def normalised_layers(section: Mapping[str, Any]) -> dict[str, str]:
    """Layer of the backbone without a bias -> the BatchNorm that alone takes its output."""
    return traced(_as_text(section["of"])).normalised if section["type"] == SLICED else {}


@lru_cache(maxsize=8)
def traced(of: str) -> Groups:
    """What can be pruned of the backbone that the section `of`, as JSON, describes, at full width.

    UserError where nothing can be.

    Draws nothing from the global random generator.
    """
    section = json.loads(of)
    kind = section.get("type")
    with torch.random.fork_rng(devices=[]):
        frozen = _frozen(MODELS.build(deepcopy(section)))
        # Networks of MMDetection freeze their stages again whenever their mode is set.
        whole = MODELS.build({**section, **({"frozen_stages": -1} if "frozen_stages" in section else {})})
    try:
        found = groups_of(whole, torch.zeros(1, *TRACED_AT), ignored_layers=frozen, streams=False)
    except UserError as error:
        raise UserError(
            f"space.config: its backbone, {kind}, cannot be traced, so it is not scored ({error.rule}); choose another"
        ) from None
    if not found.groups:
        raise UserError(f"space.config: its backbone, {kind}, is not scored: {found.reasons}; choose another")
    return found


def _frozen(backbone: nn.Module) -> list[str]:
    """The layers of a backbone that do not learn."""
    return [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and not any(p.requires_grad for p in module.parameters())
    ]


def _by_group(widths: Mapping[str, int], groups: tuple[Group, ...]) -> dict[str, int]:
    """{group: width} of what a section calls `widths`."""
    known = {_label(group.name): group for group in groups}
    for label, width in widths.items():
        if label not in known:
            raise UserError(f"backbone.widths: {label!r} is no group of this backbone; it has {', '.join(known)}")
        if type(width) is not int or not 1 <= width <= known[label].size:
            raise UserError(
                f"backbone.widths.{label} = {width!r}: must be a whole number, 1 to {known[label].size}; correct it"
            )
    return {known[label].name: width for label, width in widths.items()}


def _label(group: str) -> str:
    """A group's name as that of a setting."""
    return re.sub(r"\W+", "_", group).strip("_")


def _as_text(section: Mapping[str, Any]) -> str:
    return json.dumps(dict(section), sort_keys=True)
