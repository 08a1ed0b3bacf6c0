"""Measure a latency table of a recipe's network on this machine: what every layer costs at every width."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .backends import backend_argument
from .parser import Parser, recipe_argument

MEASURING = ("backend", "threads", "batch", "designs", "max_designs", "target", "multiple", "rounds", "seed")
"""Options that say how networks are measured."""


def add_arguments(parser: Parser) -> None:
    from ..measure.backends import tells_layers

    recipe_argument(parser, "; its network and image size are profiled")
    parser.add_argument("-o", "--output", required=True, metavar="F", help="the table, a JSON file")
    parser.add_argument(
        "--report", metavar="F", help="a page on the table: its errors and its stairs (default: beside it, as .html)"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="F",
        help="a pruned network of this recipe (a run folder, or a .json or .safetensors of ours), to prune it again: "
        "the full widths are its own; its weights do not matter",
    )
    parser.add_argument(
        "--merge", nargs="+", metavar="F", help="measure nothing: make one table of these, of other networks each"
    )
    backend_argument(parser, tells_layers, help="ort: ONNX Runtime (default); pytorch: eagerly")
    parser.add_argument("--device", choices=("cpu",), default="cpu")
    parser.add_argument("--threads", type=int, metavar="N", help="of one call (1)")
    parser.add_argument("--batch", type=int, metavar="N", help="images of one call (1)")
    parser.add_argument("--designs", type=int, metavar="N", help="networks to profile (20)")
    parser.add_argument(
        "--max-designs",
        type=int,
        metavar="N",
        help="profile up to N networks while unseen ones are predicted worse than --target, the further ones at widths "
        "of the groups that are predicted worst (as many as --designs)",
    )
    parser.add_argument("--target", type=float, metavar="E", help="median relative error to reach (0.02)")
    parser.add_argument(
        "--multiple", type=int, metavar="N", help="widths are its multiples, as with select.round_to=N (8)"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="calls per network, twice (20)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the widths (0); tables to merge need different ones")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the profiles kept beside the output, or in it"
    )
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="K=V", help="recipe overrides")


def main(args: Namespace) -> None:
    from ..costs.stairs import table_stairs
    from ..measure import TableConfig, build_table, describe_table, merge_tables
    from ..pipeline.checks import check_has_tables
    from ..pipeline.images import make_context
    from ..pipeline.recipe import load_recipe
    from ..plan import UserError, check_output
    from ..report import write_table_report
    from ..report.progress import TerminalProgress

    page = Path(args.report) if args.report else Path(args.output).with_suffix(".html")
    if page.resolve() == Path(args.output).resolve():
        raise UserError(f"--output {args.output}: is the report's name too; give the table the suffix .json")
    for argument, path in (("--output", args.output), ("--report", page)):
        check_output(argument, path, inputs=[args.recipe, args.checkpoint])
    given = {name: value for name in MEASURING if (value := getattr(args, name)) is not None}
    if args.merge and (given or args.resume):
        odd = [f"--{name.replace('_', '-')}" for name in (*given, *(["resume"] if args.resume else []))]
        raise UserError(f"--merge: measures nothing, so {', '.join(odd)} would do nothing; leave it away")
    if args.target is not None and args.max_designs is None:
        raise UserError(f"--target {args.target}: needs --max-designs, how many networks may be profiled to reach it")
    config = TableConfig(**given)
    with TerminalProgress() as progress:
        context = make_context(load_recipe(args.recipe, args.cfg_options), progress, checkpoint=args.checkpoint)
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
