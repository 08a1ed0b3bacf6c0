"""Does TensorRT take every network of a kit? Each is built with TensorRT-RTX, which needs no GPU for it.

The kits are those that `nncompress profile RECIPE --kit` writes, and the engines are built by the function of
measure_kit.py that a device with a GPU calls. Nothing is run or timed: seconds are those of the build.
"""

from __future__ import annotations

import argparse
import runpy
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _harness import check_rivals, print_rows, save_results
from latency_prediction import networks, quick_networks


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(networks()), metavar="N", help="only these")
    parser.add_argument("--designs", type=int, default=24, help="networks of a kit")
    parser.add_argument("--quick", action="store_true", help="small networks, few designs, results not written")
    return parser.parse_args()


def script_of(kit: Path) -> dict[str, Any]:
    """What the kit's measure_kit.py defines; nothing of it is started."""
    return runpy.run_path(str(kit / "measure_kit.py"))


def row_of(name: str, setting: tuple[str, dict[str, Any], int], folder: Path, designs: int) -> dict[str, Any]:
    """All engines of one network's kit: how many were built, in what time, how large, and what was refused."""
    import tensorrt_rtx

    from compress.measure import TableConfig
    from compress.measure.kit.writing import write_table_kit
    from compress.spaces import make_space

    kind, arch, side = setting
    kit = write_table_kit(
        make_space(kind, arch), folder / name, input_size=(3, side, side), config=TableConfig(designs=designs)
    )
    script, logger = script_of(kit), tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR)
    seconds, sizes, refused = [], [], {}
    files = sorted((kit / "networks").glob("*.onnx"))
    for file in files:
        started = time.perf_counter()
        try:
            engine = script["engine_of"](tensorrt_rtx, logger, file)
        except script["StopError"] as error:
            refused[file.name] = str(error).replace(str(kit), "")
            continue
        seconds.append(time.perf_counter() - started)
        sizes.append(engine.nbytes / 2**20)
        print(f"{name} {file.name}: {seconds[-1]:.1f} s, {sizes[-1]:.1f} MiB", flush=True)
    return {
        "network": name,
        "files": len(files),
        "built": len(sizes),
        "seconds, median": round(statistics.median(seconds), 1) if seconds else None,
        "smallest, MiB": round(min(sizes), 1) if sizes else None,
        "largest, MiB": round(max(sizes), 1) if sizes else None,
        "refused": refused,
    }


def main(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    check_rivals("kit_engines", "tensorrt_rtx")
    settings = quick_networks() if args.quick else networks()
    names = args.networks if args.networks and not args.quick else list(settings)
    designs = 8 if args.quick else args.designs
    with tempfile.TemporaryDirectory() as folder:
        rows = [row_of(name, settings[name], Path(folder), designs) for name in names]
    print_rows("Engines of kits, built by TensorRT-RTX", rows)
    if not args.quick:
        print(save_results("kit_engines", rows, tensorrt_rtx=version("tensorrt_rtx")))


if __name__ == "__main__":
    main(parse())
