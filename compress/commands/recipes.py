"""List the recipes that come with compress, by the names under which the other commands take them."""

from __future__ import annotations

from argparse import Namespace

from .parser import Parser


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--path", action="store_true", help="print the folder that they are in, and no more")


def main(args: Namespace) -> None:
    from ..pipeline.shipped import recipes_folder, shipped_recipes

    if args.path:
        print(recipes_folder())
        return
    recipes = shipped_recipes()
    width = max(map(len, recipes), default=0)
    for name, summary in recipes.items():
        print(f"{name:<{width}}  {summary}")
