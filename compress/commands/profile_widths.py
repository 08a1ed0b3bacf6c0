"""`profile` of recipes that search widths: what every layer costs at every width."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..pipeline.recipe import Recipe

MEASURING = ("backend", "way", "threads", "batch", "designs", "max_designs", "target", "multiple", "rounds", "seed")
"""Options that say how networks are measured."""


def profile(args: Namespace, recipe: Recipe, page: Path) -> None:
    """Measure, or merge, what `args` ask for, with a page on it; UserError for options that would do nothing."""
    from ..costs.stairs import table_stairs
    from ..measure import TableConfig, build_table, describe_table, merge_tables
    from ..pipeline.checks import check_has_tables
    from ..pipeline.images import make_context
    from ..plan import UserError
    from ..report import write_table_report
    from ..report.progress import TerminalProgress

    given = {name: value for name in MEASURING if (value := getattr(args, name)) is not None}
    if args.merge and (given or args.resume):
        odd = [f"--{name.replace('_', '-')}" for name in (*given, *(["resume"] if args.resume else []))]
        raise UserError(f"--merge: measures nothing, so {', '.join(odd)} would do nothing; leave it away")
    if args.target is not None and args.max_designs is None:
        raise UserError(f"--target {args.target}: needs --max-designs, how many networks may be profiled to reach it")
    config = TableConfig(**given)
    with TerminalProgress() as progress:
        context = make_context(recipe, progress, checkpoint=args.checkpoint)
        check_has_tables(context, f"RECIPE {args.recipe}")
        space = context.full_space if args.checkpoint is None else context.baseline[1]
        size = context.card(space).input_size
        if args.merge:
            table = merge_tables(space, args.output, args.merge, input_size=size)
        else:
            table = build_table(
                space, args.output, input_size=size, config=config, resume=args.resume, progress=progress
            )
    print(describe_table(table))
    print(f"Table: {args.output}")
    print(f"Report: {write_table_report(args.output, table_stairs(table), page)}")
