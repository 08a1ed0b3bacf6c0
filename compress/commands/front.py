"""Prune a trained network under several budgets with one search: accuracy against latency, MACs and parameters."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .parser import Parser, check_table, recipe_argument, shard_argument, table_arguments, training_arguments

if TYPE_CHECKING:
    from ..pipeline.pareto import GoalKind

GOALS: dict[GoalKind, str] = {"target_accuracy": "--target-accuracy", "max_drop": "--max-drop"}
SHORT = {"latency_ratio": "--ratios"}
"""Another flag of a kind of budget."""


def add_arguments(parser: Parser) -> None:
    from ..plan.budget_kinds import BUDGETS

    recipe_argument(parser)
    parser.add_argument("--checkpoint", metavar="F", help="trained network: .pth, .safetensors, or a run folder")
    parser.add_argument("--work-dir", metavar="D", help="folder of the front (default: runs/RECIPE_front)")
    parser.add_argument("--search-from", metavar="RUN", help="take the scores of another run instead of searching")
    training_arguments(parser, override="finetune.epochs=4")
    shard_argument(parser, "points")
    group = parser.add_argument_group("budgets", "of one kind: each value is a point, a run in a folder of its own")
    budgets = group.add_mutually_exclusive_group()
    for kind, flag in plural_flags().items():
        names = [*([SHORT[kind]] if kind in SHORT else []), flag]
        own = BUDGETS[kind]
        budgets.add_argument(*names, dest=kind, nargs="+", type=float, metavar=own.metavar, help=own.help)
    table_arguments(group)
    group = parser.add_argument_group("goal", "pick the fastest point that keeps it; with --resume pick anew")
    goals = group.add_mutually_exclusive_group()
    goals.add_argument("--target-accuracy", type=float, metavar="A", help="percent that must be left")
    goals.add_argument("--max-drop", type=float, metavar="P", help="points of accuracy that may go")


def plural_flags() -> dict[str, str]:
    """Kind of budget -> the flag that takes several of its values."""
    from ..plan.budget_kinds import BUDGETS

    return {
        kind.name: f"{kind.flag}s" if kind.ratio else kind.flag for kind in BUDGETS.values() if kind.cost is not None
    }


def main(args: Namespace) -> None:
    from ..pipeline.front import find_front
    from ..pipeline.pareto import Goal
    from ..pipeline.recipe import load_recipe
    from ..plan import read_stored, speaking
    from ..plan.budget_kinds import FLAGS
    from ..plan.front_file import FORMAT, FRONT, FrontFile
    from ..plan.launchers import first_process
    from ..pruning import Budget
    from ..report.front_terminal import print_front
    from ..report.progress import TerminalProgress

    check_table(args)
    flags = plural_flags()
    with speaking(flags | GOALS):
        budgets = [Budget(kind, value) for kind in flags for value in getattr(args, kind) or ()]
        goals = [Goal(kind, value) for kind in GOALS if (value := getattr(args, kind)) is not None]
    recipe = load_recipe(args.recipe, args.cfg_options)
    overrides = ["--cfg-options", *args.cfg_options] if args.cfg_options else []
    first = first_process(args.launcher)
    with (
        TerminalProgress(quiet=not first) as progress,
        speaking(flags | {FLAGS[kind]: flag for kind, flag in flags.items()}),
    ):
        folder = find_front(
            recipe,
            args.work_dir or Path("runs") / f"{recipe.name}_front",
            progress=progress,
            budgets=budgets,
            goal=goals[0] if goals else None,
            latency_table=args.latency_table,
            force_table=args.force_latency_table,
            checkpoint=args.checkpoint,
            ema=args.ema,
            trust=args.trust_checkpoint,
            search_from=args.search_from,
            resume=args.resume,
            launcher=args.launcher,
            dist_timeout=args.dist_timeout,
            said=shlex.join([args.recipe, *overrides]),
            shard=args.shard,
        )
    if first and args.shard is not None:
        gather = shlex.join(
            ["nncompress", "front", args.recipe, *overrides, "--work-dir", str(folder.path), "--resume"]
        )
        print(f"Points of job {args.shard.job} of {args.shard.of} are done. When all jobs are: {gather}")
    elif first:
        print_front(read_stored(folder / FRONT, FrontFile, version=FORMAT))
        print(f"Report: {folder / 'front.html'}")
