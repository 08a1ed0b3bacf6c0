"""Fine-tune a pruned network: train its weights at the widths it has, with distillation where the recipe says so."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .parser import Parser, recipe_argument, training_arguments


def add_arguments(parser: Parser) -> None:
    recipe_argument(parser, "; its finetune section is followed")
    parser.add_argument("--work-dir", metavar="D", help="folder of this run (default: runs/RECIPE_finetune)")
    parser.add_argument(
        "--checkpoint", metavar="F", help="the network: RUN/sliced.safetensors, a card, or a run folder"
    )
    parser.add_argument(
        "--teacher",
        metavar="F",
        help="the unpruned network that finetune.distill learns from (default: baseline of the checkpoint's run)",
    )
    training_arguments(parser, override="finetune.epochs=4")


def main(args: Namespace) -> None:
    from ..pipeline.recipe import load_recipe
    from ..pipeline.run import finetune
    from ..plan.launchers import first_process
    from ..report.progress import TerminalProgress

    first = first_process(args.launcher)
    recipe = load_recipe(args.recipe, args.cfg_options)
    with TerminalProgress(quiet=not first) as progress:
        folder = finetune(
            recipe,
            args.work_dir or Path("runs") / f"{recipe.name}_finetune",
            progress=progress,
            checkpoint=args.checkpoint,
            teacher=args.teacher,
            ema=args.ema,
            trust=args.trust_checkpoint,
            resume=args.resume,
            launcher=args.launcher,
            dist_timeout=args.dist_timeout,
        )
    if first:
        config = recipe.space.get("config")  # Python, which evaluating runs only where it is named
        more = f" --cfg-options space.config={config}" if config else ""
        print(f"Network: {folder.path} (`nncompress evaluate {folder.path}{more}` judges it again)")
