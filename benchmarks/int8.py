"""What INT8 costs in accuracy and saves in time: a run's unpruned and pruned network in float32 and in INT8.

All four files are timed in turn, batch 1, one thread; `latency_ratio` is to the unpruned network in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from _harness import print_rows, save_results


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a finished run's folder")
    parser.add_argument("--images", type=int, default=256, metavar="N", help="training images to calibrate on")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="K=V", help="overrides: data.root=FOLDER")
    parser.add_argument("--quick", action="store_true", help="results not written")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    import torch

    from compress.export.convert import export_int8
    from compress.measure.accuracy import evaluate_model
    from compress.measure.benchmark import benchmark_models
    from compress.measure.models import open_model
    from compress.pipeline.images import make_context
    from compress.pipeline.recorded import recorded_recipe
    from compress.report.progress import TerminalProgress

    torch.set_num_threads(1)
    recipe = recorded_recipe(args.run, args.cfg_options, remedy="give the folder of a run")
    with TerminalProgress(quiet=True) as progress:
        data = make_context(recipe, progress).data
    rows: list[dict[str, Any]] = []
    files: list[Path] = []
    with tempfile.TemporaryDirectory() as folder:
        for network in ("baseline", "model"):
            full, small = Path(args.run) / f"{network}.onnx", Path(folder) / f"{network}.onnx"
            files += [full, small]
            export_int8(Path(args.run) / network, small, data, images=args.images, seed=recipe.seed)
            for kind, path in (("float32", full), ("int8", small)):
                figures = evaluate_model(open_model(path), data)
                rows.append({"network": network, "type": kind, "bytes": path.stat().st_size, **figures})
        timed = benchmark_models(files)
    for row, found in zip(rows, timed["rows"], strict=True):
        row["latency_ratio"] = round(found["ratio"]["median"], 3)
    print_rows("ONNX Runtime, one thread", rows)
    if not args.quick:
        name = f"int8_{recipe.name}"
        print(save_results(name, rows, calibration_images=args.images, recipe=recipe.name, drifted=timed["drifted"]))


if __name__ == "__main__":
    main(parse())
