"""Prune a trained network: search, select under a budget, slice, fine-tune, export, measure, report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from _arguments import Parser
from _command import first_process, run_tool

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

STAGES = ("load", "search", "select", "slice", "finetune", "export", "measure", "report")
BUDGETS = ("pruning_ratio", "macs_ratio", "params_ratio", "latency_ratio", "latency_ms")


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("recipe", metavar="RECIPE", help="a file of recipes/")
    parser.add_argument("--checkpoint", metavar="F", help="trained network: .pth, .safetensors, or a run folder")
    parser.add_argument("--work-dir", metavar="D", help="folder of this run (default: runs/ and the recipe's name)")
    parser.add_argument("--stage", choices=STAGES, help="run this stage only; earlier ones must be finished")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the work dir")
    parser.add_argument("--search-from", metavar="RUN", help="take the scores of another run instead of searching")
    parser.add_argument("--trust-checkpoint", action="store_true", help="unpickle the checkpoint: it may run code")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="K=V", help="recipe overrides: search.epochs=4"
    )
    budget = parser.add_argument_group(
        "budget", "one, several costs at once, or none for a free ratio (scores at zero are pruned)"
    )
    budget.add_argument("--pruning-ratio", type=float, metavar="R", help="share of scored channels to remove")
    budget.add_argument("--macs-ratio", type=float, metavar="R", help="share of MACs to keep")
    budget.add_argument("--params-ratio", type=float, metavar="R", help="share of parameters to keep")
    budget.add_argument("--latency-ratio", type=float, metavar="R", help="share of the latency to keep")
    budget.add_argument("--latency-ms", type=float, metavar="T", help="milliseconds of one call")
    budget.add_argument("--latency-table", metavar="F", help="the device's table (tools/profile_latency.py)")
    budget.add_argument("--force-latency-table", action="store_true", help="take the table of another device")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from compress.pipeline.recipe import load_recipe
    from compress.pipeline.run import prune
    from compress.plan import UserError, read_stored
    from compress.plan.summary_file import SummaryFile
    from compress.pruning import Budget
    from compress.report import print_summary
    from compress.report.progress import TerminalProgress

    first = first_process(args.launcher)
    budgets = [Budget(name, getattr(args, name)) for name in BUDGETS if getattr(args, name) is not None]
    if args.force_latency_table and args.latency_table is None:
        raise UserError("--force-latency-table: needs --latency-table; give the table, or drop it")
    recipe = load_recipe(args.recipe, args.cfg_options)
    with TerminalProgress(quiet=not first) as progress:
        folder = prune(
            recipe,
            args.work_dir or Path("runs") / recipe.name,
            progress=progress,
            budget=Budget.of(*budgets) if budgets else None,
            latency_table=args.latency_table,
            force_table=args.force_latency_table,
            checkpoint=args.checkpoint,
            trust=args.trust_checkpoint,
            stage=args.stage,
            search_from=args.search_from,
            resume=args.resume,
            launcher=args.launcher,
        )
    if first and (folder / "summary.json").exists():
        print_summary(read_stored(folder / "summary.json", SummaryFile))
        print(f"Report: {folder / 'report.html'}")


if __name__ == "__main__":
    run_tool(main, parse)
