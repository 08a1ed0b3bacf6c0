"""What of timm a transformer's space may ask for: models of timm's list, and plain arguments of their own class.

Spaces come from cards, which may be a stranger's: `timm.create_model` would take `hf-hub:` and `local-dir:` names,
files of weights and settings of its own, none of which passes here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from ..plan import UserError, brief

FAMILIES = {
    "swin": ("timm.models.swin_transformer.SwinTransformer", "swin_tiny_patch4_window7_224"),
    "vit": ("timm.models.vision_transformer.VisionTransformer", "deit_small_patch16_224"),
}
"""Space -> base class of the models that it takes, and an example."""

_WEIGHTS = "weights come from --checkpoint, never from here; leave it away"
RESERVED = {
    **dict.fromkeys(
        ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"), _WEIGHTS
    ),
    "img_size": "is space.input_size; set that instead",
    "num_classes": "is space.num_classes, which the data give; leave it away",
    "in_chans": "is space.in_channels, which the data give; leave it away",
    "device": "is chosen by the tools; leave it away",
    "dtype": "is chosen by the tools; leave it away",
}
"""Arguments of timm that options may not hold -> why."""

NAME = re.compile(r"\w+(\.\w+)?", re.ASCII)
"""A model of timm's list, maybe with the tag of its weights."""

WORD = re.compile(r"\w*", re.ASCII)


def check_model(space: str, name: Any) -> None:
    """UserError unless `name` is one of timm's own list; nothing of it is built or looked up elsewhere."""
    import timm

    if not (isinstance(name, str) and NAME.fullmatch(name) and timm.is_model(name)):
        raise UserError(f"space.model = {brief(name)}: timm has no such model; for example {FAMILIES[space][1]!r}")


def plain_options(space: str, options: Any) -> dict[str, Any]:
    """`options` with lists for tuples; UserError for what is no argument of the family's class, and for other values.

    Values are numbers, single words, None, and lists of these.

    Example::

        plain_options("swin", {"window_size": 4, "depths": (2, 2)})  # {"window_size": 4, "depths": [2, 2]}
    """
    if not isinstance(options, Mapping):
        raise UserError(
            f"space.options = {brief(options)}: must map names to plain values; give numbers, words or lists"
        )
    module, _, kind = FAMILIES[space][0].rpartition(".")
    known = [name for name in list(signature(getattr(import_module(module), kind)).parameters) if name not in RESERVED]
    for name in options:
        if name in RESERVED:
            raise UserError(f"space.options[{brief(name)}]: {RESERVED[name]}")
        if name not in known:
            raise UserError(
                f"space.options[{brief(name)}]: timm's {kind} has no such argument; it has {', '.join(known)}; "
                "correct it"
            )
    return plain_values(options)


def plain_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with lists for tuples; UserError for values that are no numbers, single words, None, or lists."""
    return {name: _plain(value, name) for name, value in options.items()}


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if not isinstance(value, str | int | float | None) or (isinstance(value, str) and not WORD.fullmatch(value)):
        raise UserError(
            f"space.options[{brief(name)}] = {brief(value)}: must be a plain value; give numbers, words or lists"
        )
    return value
