"""Checks of the arguments that every space has, which come from recipes and from strangers' cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plan import UserError, brief

MOST_CLASSES, MOST_CHANNELS, MOST_PIXELS, MOST_BLOCKS = 100_000, 1024, 8192, 512
MOST_OPTION = 65536
"""The largest number among a network's own options, such as a number of features."""
SIZES = ("patch_size", "window_size", "embed_dim", "depth", "depths", "num_heads", "mlp_ratio")
"""Options that are numbers; timm takes True for a 1 and fails later."""
MOST_PARAMETERS = 4_000_000_000
"""16 GB of float32, which no network here comes near."""


def check_whole(name: str, value: Any, *, least: int, most: int, example: int | None = None) -> None:
    """UserError, naming `name`, unless `value` is a whole number from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        remedy = "correct it" if example is None else f"for example {example}"
        raise UserError(f"space.{name} = {brief(value)}: must be a whole number from {least} to {most}; {remedy}")


def check_flag(name: str, value: Any) -> None:
    """UserError, naming `name`, unless `value` is True or False."""
    if not isinstance(value, bool):
        raise UserError(f"space.{name} = {brief(value)}: must be True or False")


def check_ends(num_classes: Any, in_channels: Any) -> None:
    """UserError for impossible numbers of classes and of image channels."""
    check_whole("num_classes", num_classes, least=1, most=MOST_CLASSES, example=10)
    check_whole("in_channels", in_channels, least=1, most=MOST_CHANNELS, example=3)


def check_widths(widths: Any, full: Mapping[str, tuple[int, int]], *, network: str) -> None:
    """UserError unless `widths` are {group: width}, each in its range out of `full` {group: (least, most)}."""
    if not isinstance(widths, Mapping):
        raise UserError(f"widths = {brief(widths)}: must map groups to widths; correct it")
    for name, width in widths.items():
        if name not in full:
            raise UserError(f"widths[{brief(name)}]: {network} has no such group; see space.groups")
        least, most = full[name]
        if not isinstance(width, int) or isinstance(width, bool) or not least <= width <= most:
            raise UserError(f"widths[{brief(name)}] = {brief(width)}: must be a whole number from {least} to {most}")


def check_options(options: Mapping[str, Any]) -> None:
    """UserError for `options`, plain values, that make a network of absurd size: huge numbers, thousands of blocks."""
    for name, value in options.items():
        if odd := [number for number in _numbers(value) if not abs(number) <= MOST_OPTION]:
            rule = f"numbers must be at most {MOST_OPTION}; correct it"
            raise UserError(f"space.options[{brief(name)}]: {brief(odd[0])} is no size of a network: {rule}")
        if isinstance(value, bool) and name in SIZES:
            raise UserError(f"space.options[{brief(name)}] = {value}: must be a number; correct it")
        if name in ("depth", "depths") and (n := sum(_numbers(value))) > MOST_BLOCKS:
            raise UserError(f"space.options[{name!r}]: {n:g} blocks in all, must be at most {MOST_BLOCKS}; correct it")


def _numbers(value: Any) -> list[float]:
    """All numbers in plain values."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [number for item in items for number in _numbers(item)]
    return [value] if isinstance(value, int | float) else []
