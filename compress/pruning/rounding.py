"""Widths that an engine likes, unless the user says which: what a recipe's `select.round_to="auto"` becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from ..plan import Count, UserError
from ..plan.plan_file import Finer
from .ranking import SelectConfig


@dataclass(frozen=True)
class SelectSection(SelectConfig):
    """A recipe's `select`: a SelectConfig whose `round_to` may be left to the engine that runs the pruned network.

    Selection itself is given a number, by `settled`.

    Args:
        round_to: widths are multiples of it, or the full width; "auto": of the engine's block
            (`compress.measure.blocks`), or of less where the budget needs it.
        images: training images on which harms are measured, for `gain="measured"`.
    """

    round_to: Literal["auto"] | Count = "auto"  # type: ignore[assignment]
    images: Count = 512

    @property
    def open(self) -> bool:
        """The number is still to be found out."""
        return self.round_to == "auto"

    def at(self, round_to: int, *, finer: Finer = False) -> SelectConfig:
        """What selection is given, with this number in place of "auto"."""
        own = {spec.name: getattr(self, spec.name) for spec in fields(SelectConfig)}
        return SelectConfig(**{**own, "round_to": round_to, "finer": finer} if self.open else own)


def settled(section: SelectSection, block: int, check: Callable[[SelectConfig], None] | None) -> SelectConfig:
    """`section` with a number in place of "auto": `block`, or less where the budget cannot be met so.

    Widths are whole blocks where that is enough; else narrow groups may keep a half or a quarter of one as well: at
    first those of a single block that spatial convolutions read (ONNX Runtime writes whole blocks in any case, and
    reads less than a block as it is, which pays where a channel is read by more than one weight), then all that these
    read, then all; else the block is halved, and so on down to single channels. So rounding by default leaves no budget
    out of reach.

    Args:
        section: of the recipe.
        block: of the engine, in channels, a power of two.
        check: raises UserError for a selection that cannot meet the budget; None: without a budget scores at zero go,
            as many as they are.

    Example::

        select = settled(SelectSection(floor=8), 16, None)
    """
    whole = section.at(block)
    if not section.open or block == 1:
        return whole
    parts = [section.at(block >> i, finer=True) for i in range(block.bit_length() - 1)]
    if check is not None:
        parts = [whole, section.at(block, finer="single"), section.at(block, finer="spatial"), *parts]
    for config in parts:
        if check is None or _passes(check, config):
            return config
    return section.at(1)


def _passes(check: Callable[[SelectConfig], None], config: SelectConfig) -> bool:
    try:
        check(config)
    except UserError:
        return False
    return True
