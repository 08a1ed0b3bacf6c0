"""Accuracy of a run's network, an ONNX file or a TensorRT engine on the evaluation images of a recipe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from _command import run_tool

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", metavar="MODEL", help="run folder (PyTorch), .onnx file or .engine")
    parser.add_argument(
        "--recipe", metavar="RECIPE", help="whose data are used (default: recipe.json beside the model)"
    )
    parser.add_argument("--batch", type=int, default=250, metavar="N", help="images read at a time")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of ONNX Runtime and PyTorch")
    parser.add_argument("--json", metavar="F", help="file to write the figures to")
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="K=V", help="recipe overrides")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from compress.measure import torch_threads
    from compress.measure.accuracy import evaluate_model
    from compress.measure.models import open_model
    from compress.pipeline.context import Context
    from compress.pipeline.recipe import load_recipe
    from compress.pipeline.recorded import recorded_recipe
    from compress.plan import write_json
    from compress.report.progress import TerminalProgress

    model = open_model(args.source, threads=args.threads)
    if args.recipe:
        recipe = load_recipe(args.recipe, args.cfg_options)
    else:
        recipe = recorded_recipe(args.source, args.cfg_options, remedy="give --recipe RECIPE")
    with TerminalProgress() as progress, torch_threads(args.threads):
        data = Context(recipe, progress).data
        figures = evaluate_model(model, data, batch=args.batch, num_workers=recipe.data.num_workers)
    accuracy = ", ".join(f"{name.replace('top', 'top-')} {figures[name]:.2f} %" for name in figures if "top" in name)
    images = f"{figures['n_images']} {figures['evaluated_on']} images of {figures['dataset']}"
    print(f"{args.source} ({figures['backend']}): {accuracy}, loss {figures['loss']:.4f} on {images}")
    if args.json:
        write_json(args.json, {"file": args.source, **figures})


if __name__ == "__main__":
    run_tool(main, parse())
