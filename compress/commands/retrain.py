"""Train the network of a genotype that a topology search found; the work dir is a checkpoint to prune."""

from __future__ import annotations

from argparse import Namespace

from . import train
from .parser import Parser


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--genotype",
        required=True,
        metavar="F",
        help="a genotype.json, the run folder of a topology search, or the text of a genotype",
    )
    train.add_arguments(parser, folder="retrain")


def main(args: Namespace) -> None:
    from ..pipeline.recipe import load_recipe
    from ..plan import Genotype, UserError

    try:
        genotype = Genotype.named(args.genotype)
    except UserError as error:
        raise error.at("--genotype") from None
    recipe = load_recipe(args.recipe, [*args.cfg_options, f"space.genotype={genotype.text}"])
    train.train(args, recipe, folder="retrain")
