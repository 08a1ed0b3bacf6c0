"""Export a pruned network: a run folder, or an ONNX file, to ONNX or to a TensorRT engine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from _command import run_tool

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", metavar="RUN_OR_ONNX", help="folder with model.safetensors, or an .onnx file")
    parser.add_argument("--to", required=True, choices=("onnx", "tensorrt", "tensorrt-rtx"))
    parser.add_argument("-o", "--output", required=True, metavar="F", help="file to write; engines get F.json beside")
    parser.add_argument("--fp16", action="store_true", help="float16, with float32 where it matters")
    engines = parser.add_argument_group("engines")
    engines.add_argument("--batch", metavar="MIN:OPT:MAX", help="images of one call (default: 1:1:16)")
    engines.add_argument("--workspace", type=float, metavar="GIB", help="device memory the builder may use")
    engines.add_argument("--timing-cache", metavar="F", help="kernel timings to read and write (tensorrt)")
    engines.add_argument("--compute-capability", nargs="+", default=[], metavar="CC", help="8.6 8.9 (tensorrt-rtx)")
    engines.add_argument("--hardware-compatible", action="store_true", help="also for Ampere and later (tensorrt)")
    engines.add_argument("--version-compatible", action="store_true", help="also for later versions (tensorrt)")
    engines.add_argument("--verbose", action="store_true", help="print the builder's warnings")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from compress.export.convert import export_engine, write_onnx
    from compress.report.progress import TerminalProgress

    config = engine_config(args)
    if config is None:
        write_onnx(args.source, args.output, fp16=args.fp16)
        print(f"ONNX: {args.output}")
        return
    with TerminalProgress() as progress:
        onnx = export_engine(args.source, args.output, config=config, fp16=args.fp16, progress=progress)
    print(f"Engine: {args.output} (from {onnx})")


def engine_config(args: argparse.Namespace) -> Any:
    """The EngineConfig that the arguments ask for; None for ONNX, which takes none of them."""
    from compress.export.tensorrt import EngineConfig
    from compress.plan import UserError

    given: dict[str, Any] = {
        "batch": batch(args.batch) if args.batch else None,
        "workspace_gib": args.workspace,
        "timing_cache": args.timing_cache,
        "compute_capabilities": tuple(args.compute_capability),
        "hardware_compatible": args.hardware_compatible,
        "version_compatible": args.version_compatible,
        "verbose": args.verbose,
    }
    given = {name: value for name, value in given.items() if value not in (None, False, ())}
    if args.to != "onnx":
        return EngineConfig(backend=args.to, **given)
    if given:
        raise UserError(f"--to onnx: {', '.join(given)} has a meaning for engines only; leave it out")
    return None


def batch(text: str) -> tuple[int, int, int]:
    """'1:8:32' -> (1, 8, 32)."""
    from compress.plan import UserError

    try:
        low, best, high = map(int, text.split(":"))
    except ValueError:
        raise UserError(f"--batch {text}: must be MIN:OPT:MAX, for example 1:8:32") from None
    return low, best, high


if __name__ == "__main__":
    run_tool(main, parse())
