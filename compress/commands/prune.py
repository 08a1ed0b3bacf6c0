"""Prune a trained network: search, select under a budget, slice, fine-tune, export, measure, report."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .parser import Parser, check_table, recipe_argument, table_arguments, training_arguments

STAGES = ("load", "steps", "search", "select", "slice", "finetune", "export", "measure", "report")


def add_arguments(parser: Parser) -> None:
    from ..plan.budget_kinds import BUDGETS

    recipe_argument(parser)
    parser.add_argument("--checkpoint", metavar="F", help="trained network: .pth, .safetensors, or a run folder")
    parser.add_argument("--work-dir", metavar="D", help="folder of this run (default: runs/ and the recipe's name)")
    parser.add_argument("--stage", choices=STAGES, help="run this stage only; earlier ones must be finished")
    parser.add_argument(
        "--search-from", metavar="RUN", help="take the scores, and the network, of another run instead of searching"
    )
    parser.add_argument(
        "--method", metavar="M", help="search by another method than the recipe's (rarts, joint, magnitude, ...)"
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="rounds of search, slicing and short fine-tuning (default: 1)"
    )
    parser.add_argument(
        "--require-speedup",
        type=float,
        metavar="X",
        help="stop before fine-tuning unless the selected network is X times as fast",
    )
    training_arguments(parser, override="search.epochs=4")
    budget = parser.add_argument_group(
        "budget", "one, several costs at once, or none for a free ratio (scores at zero are pruned)"
    )
    for kind in BUDGETS.values():
        if kind.cost is not None:
            budget.add_argument(kind.flag, type=float, metavar=kind.metavar, help=kind.help)
    table_arguments(budget)
    budget.add_argument(
        "--latency-kit",
        metavar="D",
        help="have the table's device correct the selection: stop with candidates and a script in the new folder D, "
        "and go on (--resume) with their times",
    )


def main(args: Namespace) -> None:
    from ..pipeline.latency_kit import PausedError
    from ..pipeline.recipe import METHOD, load_recipe
    from ..pipeline.run import prune
    from ..plan import read_stored, speaking
    from ..plan.budget_kinds import BUDGETS, FLAGS
    from ..plan.launchers import first_process
    from ..plan.summary_file import SummaryFile
    from ..pruning import Budget
    from ..report import print_summary
    from ..report.next_steps import line_of_begun, next_line
    from ..report.progress import TerminalProgress

    first = first_process(args.launcher)
    given = [(name, getattr(args, name, None)) for name in BUDGETS]
    with speaking(FLAGS):
        budget = Budget.of(*(Budget(name, value) for name, value in given if value is not None))
    check_table(args)
    method = [] if args.method is None else [f"{METHOD}={args.method}"]
    recipe = load_recipe(args.recipe, [*args.cfg_options, *method])
    try:
        with TerminalProgress(quiet=not first) as progress:
            folder = prune(
                recipe,
                args.work_dir or Path("runs") / recipe.name,
                progress=progress,
                budget=None if budget == Budget() else budget,
                latency_table=args.latency_table,
                force_table=args.force_latency_table,
                latency_kit=args.latency_kit,
                checkpoint=args.checkpoint,
                ema=args.ema,
                trust=args.trust_checkpoint,
                stage=args.stage,
                search_from=args.search_from,
                steps=args.steps,
                require_speedup=args.require_speedup,
                resume=args.resume,
                launcher=args.launcher,
                dist_timeout=args.dist_timeout,
            )
    except PausedError as pause:
        print(pause)
        return
    if not first:
        return
    if (folder / "summary.json").exists():
        print_summary(read_stored(folder / "summary.json", SummaryFile))
        print(f"Report: {folder / 'report.html'}")
        print(f"Next: {next_line(folder.path)}")
    elif left := [stage for stage in STAGES if stage not in folder.stages and stage != "steps"]:
        print(f"Next: {line_of_begun(folder.path, left)}")
