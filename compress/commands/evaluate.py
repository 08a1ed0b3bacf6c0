"""Accuracy of a run's network, an ONNX file or a TensorRT engine on a recipe's evaluation images; AP of a detector."""

from __future__ import annotations

from argparse import Namespace

from .backends import backend_argument
from .parser import Parser, between, engine_argument, network_argument, take_network


def add_arguments(parser: Parser) -> None:
    parser.add_argument("source", metavar="MODEL", help="run folder (PyTorch), .onnx file or .engine")
    parser.add_argument(
        "--recipe", metavar="RECIPE", help="whose data are used (default: recipe.json beside the model)"
    )
    backend_argument(parser, lambda each: each.takes == "onnx", help="of an .onnx file (default: ort)")
    parser.add_argument("--batch", type=between(1, 65536), default=250, metavar="N", help="images read at a time")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of engines on the CPU")
    parser.add_argument("--json", metavar="F", help="file to write the figures to")
    engine_argument(parser)
    network_argument(parser)
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="K=V", help="recipe overrides")


def main(args: Namespace) -> None:
    from ..measure import torch_threads
    from ..measure.models import open_model
    from ..pipeline.images import make_context
    from ..pipeline.recipe import load_recipe
    from ..pipeline.recorded import recorded_recipe
    from ..plan import UserError, check_output, write_json
    from ..report import print_figures
    from ..report.progress import TerminalProgress

    take_network(args)
    if args.json:
        check_output("--json", args.json, inputs=[args.source, args.recipe])
    if args.recipe:
        recipe = load_recipe(args.recipe, args.cfg_options)
    else:
        try:
            recipe = recorded_recipe(args.source, args.cfg_options, remedy="give --recipe RECIPE")
        except UserError:
            # What is wrong with the file itself is said first.
            open_model(args.source, backend=args.backend, threads=args.threads, trust=args.trust_engine)
            raise
    with TerminalProgress() as progress, torch_threads(args.threads):
        context = make_context(recipe, progress, trust=args.trust_engine)
        with progress.waiting("Evaluating"):
            figures = context.evaluate_file(args.source, batch=args.batch, threads=args.threads, backend=args.backend)
    print_figures(args.source, figures)
    if args.json:
        write_json(args.json, {"file": args.source, **figures})
