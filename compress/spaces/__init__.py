"""Search spaces: networks that can be rebuilt at any widths, and their scored groups."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from ..plan import Registry, UserError, brief
from .alphas import Alphas, norm_scales
from .base import Group, Operator, Space, sizes
from .checkpoint import Card, load_card, load_model, load_network, load_space, load_state, save_model, weights_of
from .gates import Gate
from .mobilenetv2 import MobileNetV2Space
from .preresnet import PreResNetSpace
from .states import read_state
from .transformer import SwinSpace, VitSpace

SPACES: Registry[Any] = Registry("compress.spaces")
"""Space name -> class. Add a space of your own to it."""
for _space in (PreResNetSpace, MobileNetV2Space, SwinSpace, VitSpace):
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
        return SPACES[name](**arch)
    except TypeError as error:
        raise UserError(f"space {name!r}: {error}; correct the recipe's space section") from None


__all__ = [
    "SPACES",
    "Alphas",
    "Card",
    "Gate",
    "Group",
    "MobileNetV2Space",
    "Operator",
    "PreResNetSpace",
    "Space",
    "SwinSpace",
    "VitSpace",
    "find_space",
    "load_card",
    "load_model",
    "load_network",
    "load_space",
    "load_state",
    "make_space",
    "norm_scales",
    "read_state",
    "save_model",
    "sizes",
    "weights_of",
]
