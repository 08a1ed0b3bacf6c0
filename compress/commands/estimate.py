"""Tell what a recipe's runs will take: memory of each process, hours of each stage, disk; nothing is started."""

from __future__ import annotations

from argparse import Namespace

from .parser import Parser, between, number, recipe_argument


def add_arguments(parser: Parser) -> None:
    recipe_argument(parser)
    parser.add_argument(
        "--gpus", type=between(1, 100_000), default=1, metavar="N", help="processes that train, one a GPU (default: 1)"
    )
    parser.add_argument(
        "--tflops",
        type=between(1e-6, 1e6, number),
        metavar="T",
        help="what each computes in a second, in 10^12 FLOPs (default: measured by some steps on this device)",
    )
    group = parser.add_argument_group("images", "how many there are, where the data are not here: all three")
    for flag, what in (("--train-images", "to train on"), ("--val-images", "that judge"), ("--classes", "of them")):
        group.add_argument(flag, type=between(1, 10**12), metavar="N", help=what)
    parser.add_argument("--json", metavar="F", help="file to write the figures to")
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="K=V", help="recipe overrides")


def main(args: Namespace) -> None:
    from dataclasses import asdict

    from ..engine.sizes import DataSize
    from ..pipeline.estimate import estimate
    from ..pipeline.recipe import load_recipe
    from ..plan import UserError, check_output, write_json
    from ..report.estimate import print_estimate

    images = (args.train_images, args.val_images, args.classes)
    if None in images and any(images):
        raise UserError("--train-images, --val-images, --classes: belong together; give all three or none")
    if args.json:
        check_output("--json", args.json, inputs=[args.recipe])
    recipe = load_recipe(args.recipe, args.cfg_options)
    size = None if None in images else DataSize(*images)
    found = {"name": recipe.name, **asdict(estimate(recipe, processes=args.gpus, tflops=args.tflops, size=size))}
    print_estimate(found)
    if args.json:
        write_json(args.json, found)
