"""Train a recipe's unpruned network, from scratch or a checkpoint; the work dir is a checkpoint to prune."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .parser import Parser, recipe_argument, training_arguments

if TYPE_CHECKING:
    from ..pipeline.recipe import Recipe


def add_arguments(parser: Parser, *, folder: str = "train") -> None:
    recipe_argument(parser)
    parser.add_argument("--work-dir", metavar="D", help=f"folder of this run (default: runs/RECIPE_{folder})")
    parser.add_argument(
        "--checkpoint",
        metavar="F",
        help="start from these weights, of another number of classes too: .pth, .safetensors, or a run folder",
    )
    training_arguments(parser, override="train.epochs=4")


def main(args: Namespace) -> None:
    from ..pipeline.recipe import load_recipe

    train(args, load_recipe(args.recipe, args.cfg_options), folder="train")


def train(args: Namespace, recipe: Recipe, *, folder: str) -> None:
    """Train the network of `recipe` in the folder that `args` name, or in one called by `folder`."""
    from ..pipeline.run import train_baseline
    from ..plan.launchers import first_process
    from ..report.progress import TerminalProgress

    first = first_process(args.launcher)
    with TerminalProgress(quiet=not first) as progress:
        run = train_baseline(
            recipe,
            args.work_dir or Path("runs") / f"{recipe.name}_{folder}",
            progress=progress,
            checkpoint=args.checkpoint,
            ema=args.ema,
            trust=args.trust_checkpoint,
            resume=args.resume,
            launcher=args.launcher,
            dist_timeout=args.dist_timeout,
        )
    if first:
        print(f"Checkpoint: {run.path} (give it to `nncompress prune` as --checkpoint)")
