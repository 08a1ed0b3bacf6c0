"""Measure a latency table on this machine: what every layer costs at every width, or every operation of a cell."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .backends import backend_argument
from .parser import Parser, recipe_argument, resume_argument

PROFILES = {"prune": "profile_widths", "search-topology": "profile_cells"}
"""The command that runs a recipe -> the module that measures tables for it."""


def add_arguments(parser: Parser) -> None:
    from ..plan.table_file import PROFILES, TOTALS

    recipe_argument(parser, "; its network and image size are profiled")
    parser.add_argument("-o", "--output", metavar="F", help="the table, a JSON file")
    parser.add_argument(
        "--report", metavar="F", help="a page on the table: its errors and its stairs (default: beside it, as .html)"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="F",
        help="a pruned network of this recipe (a run folder, or a .json or .safetensors of ours), to prune it again: "
        "the full widths are its own; its weights do not matter",
    )
    parser.add_argument(
        "--merge", nargs="+", metavar="F", help="measure nothing: make one table of these, of other networks each"
    )
    parser.add_argument(
        "--kit",
        metavar="D",
        help="measure nothing here: write the networks to the new folder D, with a script that times them on a device "
        "that has neither this package nor PyTorch",
    )
    parser.add_argument(
        "--from",
        dest="from_",
        metavar="F",
        help="measure nothing here: make the table of a kit's measured.json, beside the kit's manifest.json",
    )
    backend_argument(parser, lambda backend: True, help="ort: ONNX Runtime (default); pytorch: eagerly")
    parser.add_argument(
        "--way",
        choices=(PROFILES, TOTALS),
        help="profiles: of a time for every layer; totals: of whole calls alone (default: profiles where the backend "
        "tells layers)",
    )
    parser.add_argument("--device", choices=("cpu",), default="cpu")
    parser.add_argument("--threads", type=int, metavar="N", help="of one call (1)")
    parser.add_argument("--batch", type=int, metavar="N", help="images of one call (1)")
    parser.add_argument("--designs", type=int, metavar="N", help="networks to profile (20; of cells 40)")
    parser.add_argument(
        "--max-designs",
        type=int,
        metavar="N",
        help="profile up to N networks while unseen ones are predicted worse than --target, the further ones at widths "
        "of the groups that are predicted worst (as many as --designs)",
    )
    parser.add_argument("--target", type=float, metavar="E", help="median relative error to reach (0.02)")
    parser.add_argument(
        "--multiple", type=int, metavar="N", help="widths are its multiples, as with select.round_to=N (8)"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="calls per network, twice (20; of cells once, 150)")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of the networks (0); tables to merge need different ones"
    )
    resume_argument(parser, "go on with the profiles kept beside the output, or in it")
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="K=V", help="recipe overrides")


def main(args: Namespace) -> None:
    from importlib import import_module

    from ..pipeline.recipe import BaseRecipe, load_recipe_of
    from ..plan import UserError, check_output_folder

    if args.kit is None and args.output is None:
        raise UserError(
            "--output: missing; give the file of the table, or --kit, a folder for networks to time elsewhere"
        )
    if args.kit is not None:
        check_output_folder("--kit", args.kit)
    page = _page(args)
    recipe = load_recipe_of(BaseRecipe, args.recipe, args.cfg_options)
    import_module(f".{PROFILES[recipe.command]}", __package__).profile(args, recipe, page)


def _page(args: Namespace) -> Path:
    """Where the report goes; UserError where it or the table cannot be written."""
    from ..plan import UserError, check_output
    from ..plan.kit_file import MANIFEST

    inputs = [args.recipe, args.checkpoint, args.from_, args.from_ and Path(args.from_).with_name(MANIFEST)]
    output = Path(args.output or "")
    page = Path(args.report) if args.report else output.with_suffix(".html") if args.output else output
    if args.output is not None:
        if page.resolve() == output.resolve():
            raise UserError(f"--output {args.output}: is the report's name too; give the table the suffix .json")
        for argument, path in (("--output", args.output), ("--report", page)):
            check_output(argument, path, inputs=inputs)
    return page
