"""Train a recipe's unpruned network, from scratch or a checkpoint; the work dir is a checkpoint to prune."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .parser import Parser, recipe_argument, training_arguments


def add_arguments(parser: Parser) -> None:
    recipe_argument(parser)
    parser.add_argument("--work-dir", metavar="D", help="folder of this run (default: runs/RECIPE_train)")
    parser.add_argument(
        "--checkpoint",
        metavar="F",
        help="start from these weights, of another number of classes too: .pth, .safetensors, or a run folder",
    )
    training_arguments(parser, override="train.epochs=4")


def main(args: Namespace) -> None:
    from ..pipeline.recipe import load_recipe
    from ..pipeline.run import train_baseline
    from ..plan.launchers import first_process
    from ..report.progress import TerminalProgress

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
        print(f"Checkpoint: {folder.path} (give it to `nncompress prune` as --checkpoint)")
