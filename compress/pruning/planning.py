"""A plan for a whole space: which of its groups may go, and of which kinds they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..plan import WidthPlan
from ..spaces import Space, blocks_of, sizes
from .budget import Budget
from .limits import Priced
from .ranking import SelectConfig
from .rounding import SelectSection, settled
from .select import check_reachable, select


def config_for(
    space: Space,
    budget: Budget,
    section: SelectSection,
    block: int,
    *,
    input_size: tuple[int, int, int],
    priced: Priced | None = None,
) -> SelectConfig:
    """How channels of `space` are selected under `budget`: `section`, with what "auto" is for an engine's `block`.

    Args:
        space: whose groups are chosen from.
        budget: what may stay, or go.
        section: of a recipe.
        block: of the engine, in channels (`compress.measure.blocks`).
        input_size: (C, H, W) of the images.
        priced: a latency table, for budgets of time.

    Example::

        config = config_for(space, Budget("macs_ratio", 0.5), SelectSection(), 16, input_size=(3, 32, 32))
    """
    full, operators, blocks = sizes(space.groups), space.operators(input_size), blocks_of(space.groups)

    def check(config: SelectConfig) -> None:
        check_reachable(full, operators, budget, config, blocks=blocks, priced=priced)

    return settled(section, block, None if budget.limits.cost is None else check)


def plan_for(
    space: Space,
    scores: Mapping[str, Tensor],
    budget: Budget,
    config: SelectConfig,
    *,
    input_size: tuple[int, int, int],
    priced: Priced | None = None,
    present: Mapping[str, Sequence[int]] | None = None,
    harms: Mapping[str, Sequence[float]] | None = None,
) -> WidthPlan:
    """`select` for the groups of `space` and images of (C, H, W); blocks of which nothing is kept are gone.

    Args:
        space: whose groups are chosen from.
        scores: {group: [C]}.
        budget: what may stay, or go.
        config: how to choose.
        input_size: (C, H, W) of the images.
        priced: a latency table, for budgets of time.
        present: channels that earlier rounds have left.
        harms: what a gain of "measured" goes by.

    Example::

        plan = plan_for(space, scores, Budget("pruning_ratio", 0.4), SelectConfig(), input_size=(3, 32, 32))
    """
    kinds = {group.name: group.kind for group in space.groups}
    return select(
        scores,
        space.operators(input_size),
        budget,
        config,
        space=space.name,
        blocks=blocks_of(space.groups),
        kinds=kinds,
        priced=priced,
        present=present,
        harms=harms,
    )
