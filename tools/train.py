"""Train a recipe's unpruned network, from scratch or a checkpoint; the work dir is a checkpoint for tools/prune.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from _arguments import Parser
from _command import first_process, run_tool, training_arguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("recipe", metavar="RECIPE", help="a file of recipes/")
    parser.add_argument("--work-dir", metavar="D", help="folder of this run (default: runs/RECIPE_train)")
    parser.add_argument(
        "--checkpoint",
        metavar="F",
        help="start from these weights, of another number of classes too: .pth, .safetensors, or a run folder",
    )
    training_arguments(parser, override="train.epochs=4")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from compress.pipeline.recipe import load_recipe
    from compress.pipeline.run import train_baseline
    from compress.report.progress import TerminalProgress

    first = first_process(args.launcher)
    recipe = load_recipe(args.recipe, args.cfg_options)
    with TerminalProgress(quiet=not first) as progress:
        folder = train_baseline(
            recipe,
            args.work_dir or Path("runs") / f"{recipe.name}_train",
            progress=progress,
            checkpoint=args.checkpoint,
            trust=args.trust_checkpoint,
            resume=args.resume,
            launcher=args.launcher,
        )
    if first:
        print(f"Checkpoint: {folder.path} (give it to tools/prune.py as --checkpoint)")


if __name__ == "__main__":
    run_tool(main, parse)
