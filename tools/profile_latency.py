"""Measure a latency table of a recipe's network on this machine: what every layer costs at every width."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from _command import run_tool

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BACKENDS = {"ort": "onnxruntime"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", metavar="RECIPE", help="a file of recipes/; its network and image size are profiled")
    parser.add_argument("-o", "--output", required=True, metavar="F", help="the table, a JSON file")
    parser.add_argument(
        "--report", metavar="F", help="a page on the table: its errors and its stairs (default: beside it, as .html)"
    )
    parser.add_argument("--backend", choices=BACKENDS, default="ort", help="ort: ONNX Runtime")
    parser.add_argument("--device", choices=("cpu",), default="cpu")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of one call")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images of one call")
    parser.add_argument("--designs", type=int, default=20, metavar="N", help="networks to profile")
    parser.add_argument(
        "--multiple", type=int, default=8, metavar="N", help="widths are its multiples, as with select.round_to=N"
    )
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="calls per network, twice")
    parser.add_argument("--resume", action="store_true", help="go on with the profiles kept beside the output")
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="K=V", help="recipe overrides")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from compress.costs.stairs import table_stairs
    from compress.measure import TableConfig, build_table, describe_table
    from compress.pipeline.context import Context
    from compress.pipeline.recipe import load_recipe
    from compress.plan import UserError
    from compress.report import write_table_report
    from compress.report.progress import TerminalProgress

    page = Path(args.report) if args.report else Path(args.output).with_suffix(".html")
    if page.resolve() == Path(args.output).resolve():
        raise UserError(f"--output {args.output}: is the report's name too; give the table the suffix .json")
    config = TableConfig(
        backend=BACKENDS[args.backend],
        threads=args.threads,
        batch=args.batch,
        designs=args.designs,
        multiple=args.multiple,
        rounds=args.rounds,
    )
    with TerminalProgress() as progress:
        context = Context(load_recipe(args.recipe, args.cfg_options), progress)
        space = context.full_space
        size = context.card(space).input_size
        table = build_table(space, args.output, input_size=size, config=config, resume=args.resume, progress=progress)
    print(describe_table(table))
    print(f"Table: {args.output}")
    print(f"Report: {write_table_report(args.output, table_stairs(table), page)}")


if __name__ == "__main__":
    run_tool(main, parse())
