"""`profile` of recipes that search widths: what every layer costs at every width."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .parser import flag_of

if TYPE_CHECKING:
    from ..costs import LatencyTable
    from ..engine.hooks import Progress
    from ..measure import TableConfig
    from ..pipeline.recipe import Recipe
    from ..spaces import Space

MEASURING = ("backend", "way", "threads", "batch", "designs", "max_designs", "target", "multiple", "rounds", "seed")
"""Options that say how networks are measured."""


ALONE = ("merge", "kit", "from_")
"""Options that measure nothing, each a thing of its own to do."""
OF_KITS = ("batch", "designs", "multiple", "seed")
"""Those that say which networks a kit has; the others are the device's."""


def profile(args: Namespace, recipe: Recipe, page: Path) -> None:
    """Measure, merge, or write a kit of what `args` ask for; UserError for options that would do nothing."""
    from ..measure import TableConfig
    from ..pipeline.checks import check_has_tables
    from ..pipeline.images import make_context
    from ..report.progress import TerminalProgress

    given = {name: value for name in MEASURING if (value := getattr(args, name)) is not None}
    _check_useful(args, given)
    if any(getattr(args, name) for name in ALONE):
        args.resumable = False
    config = TableConfig(**given)
    with TerminalProgress() as progress:
        context = make_context(recipe, progress, checkpoint=args.checkpoint)
        check_has_tables(context, f"RECIPE {args.recipe}")
        space = context.full_space if args.checkpoint is None else context.baseline[1]
        found = _made(args, space, context.card(space).input_size, config, progress)
    if found is not None:
        _tell(args, found, page)


def _check_useful(args: Namespace, given: Mapping[str, object]) -> None:
    """UserError for options that would do nothing beside others."""
    from ..plan import UserError

    alone = [name for name in ALONE if getattr(args, name)]
    if len(alone) > 1:
        raise UserError(f"{flag_of(alone[0])} and {flag_of(alone[1])}: are two things to do; give one of them")
    if alone:
        useful = OF_KITS if args.kit else ()
        odd = [name for name in (*given, *(["resume"] if args.resume else [])) if name not in useful]
        odd += [name for name in ("output", "report") if args.kit and getattr(args, name)]
        if odd:
            useless = ", ".join(map(flag_of, odd))
            raise UserError(f"{flag_of(alone[0])}: measures nothing, so {useless} would do nothing; leave it away")
    if args.target is not None and args.max_designs is None:
        raise UserError(f"--target {args.target}: needs --max-designs, how many networks may be profiled to reach it")


def _made(
    args: Namespace, space: Space, size: tuple[int, int, int], config: TableConfig, progress: Progress
) -> LatencyTable | None:
    """The table; None where a kit was written."""
    from ..measure import build_table, merge_tables
    from ..measure.kit.reading import table_of_kit
    from ..measure.kit.writing import how_to_go_on, write_table_kit

    if args.kit:
        folder = write_table_kit(space, args.kit, input_size=size, config=config, progress=progress)
        progress.note(f"{how_to_go_on(folder)}, for `nncompress profile {args.recipe} --from ... -o table.json`")
        return None
    if args.from_:
        return table_of_kit(space, args.output, args.from_, input_size=size)
    if args.merge:
        return merge_tables(space, args.output, args.merge, input_size=size)
    return build_table(space, args.output, input_size=size, config=config, resume=args.resume, progress=progress)


def _tell(args: Namespace, table: LatencyTable, page: Path) -> None:
    """How good `table` is, and the page on it."""
    from ..costs.stairs import table_stairs
    from ..measure import describe_table
    from ..report import write_table_report

    print(describe_table(table))
    print(f"Table: {args.output}")
    print(f"Report: {write_table_report(args.output, table_stairs(table), page)}")
