"""Search spaces: networks that can be rebuilt at any widths, and their scored groups."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from ..plan import Registry, UserError, brief
from .alphas import Alphas, axis_length, norm_scales
from .any_network import LiveSpace, TracedSpace
from .base import InputSize, Space, WidthSpace
from .blocks import attention_of, narrow_heads, plain_attention
from .checkpoint import Card, load_card, load_model, load_network, load_space, save_model, weights_of
from .constructors import GIVEN, is_code, is_named, name_code
from .folding import fold_scores
from .foreign import Loaded, load_state
from .gates import Gate
from .given import check_given, check_returned, copied, kind_of
from .groups import Group, Layout, Rest, Slice, columns, rows, sizes
from .mobilenetv2 import MobileNetV2Space
from .narrowing import narrow
from .operators import (
    Operator,
    Present,
    Sum,
    Width,
    channels_at,
    groups_of,
    named_sides,
    never_gone,
    plain_sides,
    read_spatially,
    width_at,
    without_sums,
)
from .preresnet import PreResNetSpace
from .removal import blocks_of, check_whole_blocks, constant_of, members_of, removed, within_blocks
from .shapes import evaluating, shapes_through
from .states import read_state, read_weights
from .stored_groups import group_values
from .surroundings import own_surroundings, same_draws
from .traced import bare_parameters, traced_operators
from .transformer import SwinSpace, VitSpace

SPACES: Registry[Any] = Registry("compress.spaces")
"""Space name -> class. Add a space of your own to it."""
for _space in (PreResNetSpace, MobileNetV2Space, SwinSpace, VitSpace, TracedSpace):
    SPACES.add(_space)


def find_space(name: Any) -> type | None:
    """The class of the space called `name`, None when there is none; an installed package may bring it.

    Raises UserError as `Registry.find` does.
    """
    found: type | None = SPACES.find(name)
    return found


def make_space(name: str, arch: Mapping[str, Any]) -> Space:
    """The space called `name` with the keyword arguments `arch`; UserError for an unknown name or argument."""
    if not isinstance(name, str) or find_space(name) is None:
        raise UserError(f"space.type = {brief(name)}: unknown space; choose one of {', '.join(sorted(SPACES))}")
    known = signature(SPACES[name]).parameters
    if unknown := [key for key in arch if key not in known]:
        raise UserError(f"space.{brief(unknown[0])[1:-1]}: {name} has no such setting; it has {', '.join(known)}")
    try:
        space: Space = SPACES[name](**arch)
    except TypeError as error:
        raise UserError(f"space {name!r}: {error}; correct the recipe's space section") from None
    return space


__all__ = [
    "GIVEN",
    "SPACES",
    "Alphas",
    "Card",
    "Gate",
    "Group",
    "InputSize",
    "Layout",
    "LiveSpace",
    "Loaded",
    "MobileNetV2Space",
    "Operator",
    "PreResNetSpace",
    "Present",
    "Rest",
    "Slice",
    "Space",
    "Sum",
    "SwinSpace",
    "TracedSpace",
    "VitSpace",
    "Width",
    "WidthSpace",
    "attention_of",
    "axis_length",
    "bare_parameters",
    "blocks_of",
    "channels_at",
    "check_given",
    "check_returned",
    "check_whole_blocks",
    "columns",
    "constant_of",
    "copied",
    "evaluating",
    "find_space",
    "fold_scores",
    "group_values",
    "groups_of",
    "is_code",
    "is_named",
    "kind_of",
    "load_card",
    "load_model",
    "load_network",
    "load_space",
    "load_state",
    "make_space",
    "members_of",
    "name_code",
    "named_sides",
    "narrow",
    "narrow_heads",
    "never_gone",
    "norm_scales",
    "own_surroundings",
    "plain_attention",
    "plain_sides",
    "read_spatially",
    "read_state",
    "read_weights",
    "removed",
    "rows",
    "same_draws",
    "save_model",
    "shapes_through",
    "sizes",
    "traced_operators",
    "weights_of",
    "width_at",
    "within_blocks",
    "without_sums",
]
