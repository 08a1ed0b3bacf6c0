"""Export a pruned network: a run folder, or an ONNX file, to ONNX, also INT8, or to a TensorRT engine."""

from __future__ import annotations

from argparse import BooleanOptionalAction, Namespace
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from .backends import engine_backends
from .parser import Parser, flag_of, network_argument, take_network

OPTIONS = {"workspace_gib": "--workspace", "compute_capabilities": "--compute-capability"}
"""Setting of an engine -> its option, where that has another name."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("source", metavar="RUN_OR_ONNX", help="folder with model.safetensors, or an .onnx file")
    parser.add_argument("--to", required=True, choices=("onnx", "ort-int8", *engine_backends()))
    parser.add_argument("-o", "--output", required=True, metavar="F", help="file to write; engines get F.json beside")
    parser.add_argument("--fp16", action="store_true", help="float16, with float32 where it matters")
    parser.add_argument("--uint8-input", action="store_true", help="take pixels, uint8 NHWC; normalise in the graph")
    parser.add_argument(
        "--input-size", nargs="+", metavar=("H", "W"), help="of a detector's images, or: any (default: the run's)"
    )
    network_argument(parser)
    int8 = parser.add_argument_group("ort-int8", "8-bit integers for ONNX Runtime, from a run folder")
    int8.add_argument("--calibration-images", type=int, metavar="N", help="training images to measure (default: 256)")
    int8.add_argument("--calibration", choices=("minmax", "entropy", "percentile"), help="of ranges (default: minmax)")
    int8.add_argument(
        "--activations", choices=("uint8", "int8"), help="uint8 for x86 (default), int8 for ARM and TensorRT"
    )
    int8.add_argument(
        "--reduce-range", action=BooleanOptionalAction, help="7-bit weights, or 8 for processors that all have VNNI"
    )
    int8.add_argument("--cfg-options", nargs="+", action="extend", metavar="K=V", help="overrides: data.root=FOLDER")
    engines = parser.add_argument_group("engines")
    engines.add_argument(
        "--batch", metavar="MIN:OPT:MAX", help="images of one call (default: 1:1:16); a detector's: 4:4:4"
    )
    engines.add_argument("--workspace", type=float, metavar="GIB", help="device memory the builder may use")
    engines.add_argument("--timing-cache", metavar="F", help="kernel timings to read and write (tensorrt)")
    engines.add_argument("--compute-capability", nargs="+", default=[], metavar="CC", help="8.6 8.9 (tensorrt-rtx)")
    engines.add_argument("--hardware-compatible", action="store_true", help="also for Ampere and later (tensorrt)")
    engines.add_argument("--version-compatible", action="store_true", help="also for later versions (tensorrt)")
    engines.add_argument("--verbose", action="store_true", help="print the builder's warnings")


def main(args: Namespace) -> None:
    from ..export.convert import export_engine, write_onnx
    from ..plan import check_output
    from ..report.progress import TerminalProgress

    take_network(args)
    config, int8 = engine_config(args), int8_options(args)
    check_output("--output", args.output, inputs=[args.source])
    if args.timing_cache:
        check_output("--timing-cache", args.timing_cache, inputs=[args.source])
    if int8 is not None:
        export_int8(args, **int8)
        return
    options = {"fp16": args.fp16, "uint8_input": args.uint8_input, "input_size": input_size(args.input_size)}
    if config is None:
        only = batch(args.batch)[0] if args.batch else 1
        with TerminalProgress() as progress, progress.waiting("Exporting to ONNX"):
            written = write_onnx(args.source, args.output, batch=only, **options)
        for file in written:
            print(f"ONNX: {file}")
        return
    with TerminalProgress() as progress:
        built = export_engine(args.source, args.output, config=config, progress=progress, **options)
    for engine, onnx in built.items():
        print(f"Engine: {engine} (from {onnx})")


def engine_config(args: Namespace) -> Any:
    """The EngineConfig that the arguments ask for; None for ONNX, which takes none of them."""
    from ..export.tensorrt import EngineConfig
    from ..plan import speaking

    given: dict[str, Any] = {
        "batch": batch(args.batch) if args.batch else None,
        "workspace_gib": args.workspace,
        "timing_cache": args.timing_cache,
        "compute_capabilities": tuple(args.compute_capability),
        "hardware_compatible": args.hardware_compatible,
        "version_compatible": args.version_compatible,
        "verbose": args.verbose,
    }
    if args.to == "onnx" and given["batch"] and len({*given["batch"]}) == 1:
        del given["batch"]  # of a detector's file
    given = {name: value for name, value in given.items() if value not in (None, False, ())}
    if args.to in engine_backends():
        with speaking({name: OPTIONS.get(name, flag_of(name)) for name in given}):
            return EngineConfig(backend=args.to, **given)
    refuse(args, given, "engines")
    return None


def input_size(given: Sequence[str] | None) -> tuple[int, int] | Literal["any"] | None:
    """["800", "1344"] -> (800, 1344); ["any"] -> "any"."""
    from ..plan import UserError

    if given is None:
        return None
    if list(given) == ["any"]:
        return "any"
    if len(given) != 2 or not {*given} <= {str(side) for side in range(32, 8193, 32)}:
        rule, remedy = "must be height and width, multiples of 32 up to 8192, or: any", "give for example 800 1344"
        raise UserError(rule, argument="--input-size", value=" ".join(given), remedy=remedy)
    return int(given[0]), int(given[1])


def int8_options(args: Namespace) -> dict[str, Any] | None:
    """What the arguments say of INT8, by name; None for all other targets, which take nothing of it."""
    names = ("calibration_images", "calibration", "activations", "reduce_range", "cfg_options")
    given = {name: value for name in names if (value := getattr(args, name)) not in (None, [])}
    if args.to != "ort-int8":
        refuse(args, given, "--to ort-int8")
        return None
    refuse(args, [name for name in ("fp16", "input_size") if getattr(args, name)], "the other targets")
    return given


def refuse(args: Namespace, given: Iterable[str], use: str) -> None:
    """UserError where settings are `given` that are for `use` alone."""
    from ..plan import UserError

    if names := ", ".join(OPTIONS.get(name, flag_of(name)) for name in given):
        raise UserError(f"--to {args.to}: {names} has a meaning for {use} only; leave it out")


def export_int8(
    args: Namespace, *, calibration_images: int = 256, cfg_options: Sequence[str] = (), **config: Any
) -> None:
    from ..export import Int8Config
    from ..export.convert import check_int8, export_int8
    from ..pipeline.images import make_context
    from ..pipeline.recorded import recorded_recipe
    from ..report.progress import TerminalProgress

    check_int8(args.source, args.output, images=calibration_images, uint8_input=args.uint8_input)
    recipe = recorded_recipe(args.source, cfg_options, remedy="give the folder of a run")
    with TerminalProgress() as progress:
        data = make_context(recipe, progress).data
        with progress.waiting("Exporting to ONNX, measuring the ranges of activations"):
            made = export_int8(
                args.source,
                args.output,
                data,
                images=calibration_images,
                seed=recipe.seed,
                config=Int8Config(**config),
                uint8_input=args.uint8_input,
            )
    for file, used in made.items():
        print(f"ONNX: {file} (INT8, calibrated on {used} training images of {data.name})")


def batch(text: str) -> tuple[int, int, int]:
    """'1:8:32' -> (1, 8, 32)."""
    from ..plan import UserError

    try:
        low, best, high = map(int, text.split(":"))
    except ValueError:
        raise UserError(f"--batch {text}: must be MIN:OPT:MAX, for example 1:8:32") from None
    return low, best, high
