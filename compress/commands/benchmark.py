"""Time exported models against each other in one interleaved run."""

from __future__ import annotations

from argparse import Namespace

from .backends import backend_argument
from .parser import Parser, between, engine_argument


def add_arguments(parser: Parser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help=".onnx or .engine files; ratios are to the first")
    backend_argument(parser, lambda each: each.takes == "onnx", help="of the .onnx files (default: ort)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of one call on the CPU")
    parser.add_argument("--batch", type=between(1, 65536), default=1, metavar="N", help="images of one call")
    parser.add_argument("--repeats", type=between(1, 1_000_000), default=60, metavar="N", help="samples of each model")
    parser.add_argument("--json", metavar="F", help="file to write the figures to")
    engine_argument(parser)


def main(args: Namespace) -> None:
    from ..measure.benchmark import benchmark_models
    from ..plan import check_output, write_json
    from ..report.benchmark import print_benchmark

    if args.json:
        check_output("--json", args.json, inputs=args.models)
    result = benchmark_models(
        args.models,
        backend=args.backend,
        batch=args.batch,
        threads=args.threads,
        repeats=args.repeats,
        trust=args.trust_engine,
    )
    print_benchmark(result)
    if args.json:
        write_json(args.json, result)
