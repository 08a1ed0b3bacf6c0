"""`profile` of recipes that search cells: what every operation costs on every edge."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .parser import flag_of

if TYPE_CHECKING:
    from ..topology.recipe import TopologyRecipe

MEASURING = ("backend", "threads", "batch", "designs", "rounds", "seed")
"""Options that say how networks are measured."""
OF_WIDTHS = ("checkpoint", "merge", "max_designs", "target", "multiple", "way", "kit", "from_")
"""Options that say nothing of cells."""


def profile(args: Namespace, recipe: TopologyRecipe, page: Path) -> None:
    """Measure the table that `args` ask for, with a page on it; UserError for options that are of widths."""
    from ..measure import describe_table
    from ..plan import UserError
    from ..report.progress import TerminalProgress
    from ..topology.latency_page import write_cell_page
    from ..topology.profile import CellTableConfig, build_cell_table
    from ..topology.run import TopologyContext

    if odd := [flag_of(name) for name in OF_WIDTHS if getattr(args, name)]:
        raise UserError(f"{', '.join(odd)}: for tables of widths, but {args.recipe} searches cells; leave it away")
    given = {name: value for name in MEASURING if (value := getattr(args, name)) is not None}
    config = CellTableConfig(**given)
    with TerminalProgress() as progress:
        context = TopologyContext(recipe, progress)
        table = build_cell_table(
            context.target,
            context.space.cells,
            args.output,
            input_size=context.task.input_size,
            config=config,
            resume=args.resume,
            progress=progress,
        )
    print(describe_table(table))
    print(f"Table: {args.output}")
    print(f"Report: {write_cell_page(args.output, page)}")
