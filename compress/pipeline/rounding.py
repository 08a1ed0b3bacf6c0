"""The number that `select.round_to="auto"` stands for in a run: found out once, on the machine where the run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..measure.blocks import block_of
from ..plan.backends import BACKENDS
from ..pruning import Budget, Priced, SelectConfig, config_for
from ..report import wording
from ..spaces import Space
from .stage import Figures

if TYPE_CHECKING:
    from .networks import NetworkContext


def record_block(c: NetworkContext, space: Space, figures: Figures) -> None:
    """Put into a stage's `figures` the block that this run rounds by, wherever it goes on, and tell of it."""
    if not c.recipe.select.open:
        return
    figures["round_to"] = block = run_block(c, space)
    if block > 1:
        engine = BACKENDS.label(engine_of(c))
        c.progress.note(f"widths: multiples of {block}, as {engine} takes them here; select.round_to chooses others")


def run_block(c: NetworkContext, space: Space) -> int:
    """The number for "auto": what the run has recorded, what the run around it goes by, or this machine's.

    1 under a latency budget, whose table has the widths to choose from.
    """
    recorded = c.folder.stages.get("load", {}).get("round_to", c.block)
    if recorded is not None:
        return int(recorded)
    if c.budget.latency is not None:
        return 1
    backend = BACKENDS.need("measure.backends", engine_of(c))
    return block_of(backend.blocks, {group.kind for group in space.groups})


def engine_of(c: NetworkContext) -> str:
    """The engine that the run is judged by: the one whose speed reports tell first."""
    return str(BACKENDS.first(c.recipe.measure.backends))


def select_config(c: NetworkContext, space: Space, budget: Budget, priced: Priced | None) -> SelectConfig:
    """How channels are selected under `budget`: the recipe's section, with a number in place of "auto"."""
    section = c.recipe.select
    block = run_block(c, space) if section.open else 1
    return config_for(space, budget, section, block, input_size=c.card(space).input_size, priced=priced)


def tell_finer(c: NetworkContext, space: Space, config: SelectConfig) -> None:
    """Note where the budget asked for narrower widths than whole blocks."""
    if not c.recipe.select.open or not (config.finer or config.round_to < run_block(c, space)):
        return
    parts = f", {wording.parts_of('that', config.finer)}" if config.finer else ""
    c.progress.note(f"widths: multiples of {config.round_to}{parts}, because the budget asks for them")
